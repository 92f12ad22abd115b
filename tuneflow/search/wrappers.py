"""Searchers around searchers: a limit on trials at a time, and repeats of each configuration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.arguments import check_whole
from tuneflow.errors import InvalidArgument
from tuneflow.moved import refusing
from tuneflow.samplers import make_sampler
from tuneflow.samplers.seeding import derive
from tuneflow.search.base import Searcher

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuneflow.space import Space

__all__ = ["ConcurrencyLimiter", "Repeater"]


@dataclass(frozen=True, eq=False)
class _Wrapper(Searcher):
    """A searcher around another one, whose space, metric, mode, points and seed it has."""

    searcher: Any

    def __post_init__(self) -> None:
        for name in ("space", "metric", "mode", "points_to_evaluate"):
            object.__setattr__(self, name, getattr(self.searcher, name, None) if self._holds_searcher else None)
        super().__post_init__()
        if not self._holds_searcher and not isinstance(self.searcher, str):
            make_sampler(self.searcher, space=None, seed=None)  # refuses what is no sampler

    @property
    def _holds_searcher(self) -> bool:
        return isinstance(self.searcher, Searcher)

    @property
    def own_seed(self) -> int | None:
        return self.searcher.own_seed if self._holds_searcher else None

    def space_with(self, config: Mapping[str, Any] | None) -> dict[str, Any]:
        given: dict[str, Any] = self.searcher.space_with(config) if self._holds_searcher else dict(config or {})
        return given

    def to_sampler(self, *, space: Space | None = None, seed: int | None = None) -> BaseSampler:
        if self._holds_searcher:
            inner = self.searcher.to_sampler(space=space, seed=seed)
        else:
            inner = make_sampler(self.searcher, space=space, seed=None if seed is None else derive(seed, 0))
        return self._wrapped(inner)

    def _sampler(self, space: Space | None, seed: int | None) -> BaseSampler:
        return self.to_sampler(space=space, seed=seed)

    @abstractmethod
    def _wrapped(self, sampler: BaseSampler) -> BaseSampler: ...


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class ConcurrencyLimiter(_Wrapper):
    """Runs no more than ``max_concurrent`` trials of a searcher at a time.

    Paused trials do not count. In a loop of one's own, and in ``study.optimize``, whose ``n_jobs`` is the limit,
    ``batch=True`` has the sampler learn in batches and starts what it is asked to start.

    Args:
        searcher: one of ``tuneflow.search``, an Optuna sampler, or a sampler's name.
        max_concurrent: trials at a time, >= 1.
        batch: whether trials start in batches of ``max_concurrent``: the next batch when all of the one before have
            ended or paused, with all their results known and none of its own.

    Raises:
        InvalidArgument: ``max_concurrent`` is below 1.

    Example:
        >>> from tuneflow.search import OptunaSearch
        >>> limited = ConcurrencyLimiter(OptunaSearch(metric="loss", mode="min"), max_concurrent=2)
        >>> limited.max_concurrent, limited.metric
        (2, 'loss')
    """

    max_concurrent: int = field()
    batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = check_whole("max_concurrent", self.max_concurrent, 1)
        inner = self.searcher.max_concurrent if self._holds_searcher else 0
        object.__setattr__(self, "max_concurrent", min(limit, inner) if inner else limit)

    @property
    def batch_size(self) -> int:
        return self.max_concurrent if self.batch else 0

    def _wrapped(self, sampler: BaseSampler) -> BaseSampler:
        from tuneflow.samplers.batching import BatchingSampler

        if not self.batch or type(sampler).__name__ == "RandomSampler":  # which learns nothing, and may serve a grid
            return sampler
        return BatchingSampler(sampler, self.max_concurrent)


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class Repeater(_Wrapper):
    """Runs every configuration ``repeat`` times; the searcher learns the mean of the results.

    The repeats are trials of their own that differ in ``tune.get_trial().seed`` alone, and ``num_samples`` counts each
    of them. The user attribute ``tuneflow:repeat_of`` of a trial names the first one with its configuration. Failed
    repeats are left out of the mean. Pruners judge each repeat by itself: without one is best.

    Args:
        searcher: one of ``tuneflow.search``, an Optuna sampler, or a sampler's name.
        repeat: trials of each configuration, >= 1.
        set_index: only False; where Tune counts repeats in ``config["__trial_index__"]``, trials here have seeds.

    Raises:
        InvalidArgument: ``repeat`` is below 1, or the searcher is limited in batches.

    Example:
        >>> type(Repeater("tpe", repeat=3).to_sampler(seed=0)).__name__
        'RepeatingSampler'
    """

    repeat: int = 1
    set_index: bool = False

    _refused: ClassVar[Mapping[str, str]] = {
        "set_index": "Seed each repeat with tune.get_trial().seed instead of config['__trial_index__']"
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "repeat", check_whole("repeat", self.repeat, 1))
        if self._holds_searcher and self.searcher.batch_size:
            raise InvalidArgument(
                "Repeater cannot stand around ConcurrencyLimiter(batch=True), whose batches count trials; write "
                "ConcurrencyLimiter(Repeater(...), max_concurrent, batch=True)"
            )
        inner = self.searcher.max_concurrent if self._holds_searcher else 0
        object.__setattr__(self, "max_concurrent", inner * self.repeat)

    def _wrapped(self, sampler: BaseSampler) -> BaseSampler:
        from tuneflow.samplers.repeating import RepeatingSampler

        return RepeatingSampler(sampler, self.repeat)
