"""Searchers that need nothing but Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.errors import InvalidArgument
from tuneflow.moved import refusing
from tuneflow.samplers import make_sampler
from tuneflow.search.base import Points, Searcher, SpaceDict

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuneflow.space import Space

__all__ = ["BasicVariantGenerator", "OptunaSearch"]


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class BasicVariantGenerator(Searcher):
    """Random search, and every cell of the space's grids.

    Args:
        points_to_evaluate: configurations to try first; missing entries are drawn.
        max_concurrent: trials at a time; 0 for as many as fit.
        constant_grid_search: only False; random values are drawn anew for every cell.
        random_state: seed, an integer >= 0.

    Raises:
        InvalidArgument: a value breaks its rule.

    Example:
        >>> sampler = BasicVariantGenerator(random_state=3).to_sampler()
        >>> type(sampler).__name__
        'RandomSampler'
    """

    points_to_evaluate: Points | None = None
    max_concurrent: int = 0
    constant_grid_search: bool = False
    random_state: int | None = None

    _seed_argument: ClassVar[str] = "random_state"
    _refused: ClassVar[Mapping[str, str]] = {
        "constant_grid_search": "Random values are drawn anew for every cell; fix those that are to be the same in all"
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = self.max_concurrent
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise InvalidArgument(f"max_concurrent={limit!r} must be an integer >= 0; 0 is no limit")

    def _sampler(self, space: Space | None, seed: int | None) -> BaseSampler:
        return make_sampler("random", space=space, seed=seed)


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class OptunaSearch(Searcher):
    """Any Optuna sampler; TPE by default.

    Args:
        space: a dict of tuneflow's domains; may stand in the run's ``config`` instead.
        metric: the result to optimise; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        points_to_evaluate: configurations to try first; missing entries are sampled.
        sampler: an Optuna sampler, or a sampler's name.
        study_name: only None; ``tune.run(name=...)`` names the study.
        storage: only None; ``tune.run`` keeps the study in the experiment's folder.
        seed: an integer >= 0; where ``sampler`` is an object, it is seeded itself.
        evaluated_rewards: only None.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a space that is no dict of domains, several metrics.

    Example:
        >>> type(OptunaSearch(metric="loss", mode="min").to_sampler(seed=0)).__name__
        'TPESampler'
    """

    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None
    sampler: BaseSampler | str | None = None
    study_name: str | None = None
    storage: Any = None
    seed: int | None = None
    evaluated_rewards: Sequence[float] | None = None

    _refused: ClassVar[Mapping[str, str]] = {
        "study_name": "tune.run(name=...) names the experiment and its study",
        "storage": "tune.run keeps the study in storage_path; for a storage of your own use "
        "create_study(storage=...) and study.optimize",
        "evaluated_rewards": "Add what is known to a study of your own, with study.optuna.add_trial",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and not isinstance(self.sampler, str | None):
            raise InvalidArgument(
                f"seed={self.seed} cannot reach the sampler that was given; seed that one: "
                f"{type(self.sampler).__name__}(seed={self.seed})"
            )

    def _sampler(self, space: Space | None, seed: int | None) -> BaseSampler:
        return make_sampler(self.sampler, space=space, seed=seed)
