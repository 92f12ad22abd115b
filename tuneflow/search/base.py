"""What a searcher is, and what all of them have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.samplers.seeding import derive
from tuneflow.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["Points", "Searcher", "SpaceDict"]

SpaceDict = Mapping[str, Any]
Points = Sequence[Mapping[str, Any]]


class Searcher(ABC):
    """What ``tune.run(search_alg=...)`` takes in Tune's spelling. One object may serve several runs.

    Attributes:
        space: the search space, where it does not stand in the run's ``config``.
        metric: the result to optimise; None where it stands elsewhere.
        mode: "min" or "max"; None where it stands elsewhere.
        points_to_evaluate: configurations to try first.
        max_concurrent: trials at a time; 0 for no limit of its own.
    """

    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None
    max_concurrent: int = 0

    _seed_argument: ClassVar[str] = "seed"
    _refused: ClassVar[Mapping[str, str]] = {}
    """What to do instead, for each of Tune's arguments that only its default is taken of."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in fields(self):  # type: ignore[arg-type]
            if field.name in self._refused and getattr(self, field.name) is not field.default:
                raise InvalidArgument(
                    f"{name} cannot honour {field.name}={getattr(self, field.name)!r}; leave it out. "
                    f"{self._refused[field.name]}"
                )
        if self.space is not None:
            _check_space(self.space)
        if self.metric is not None and (not isinstance(self.metric, str) or not self.metric):
            raise InvalidArgumentType(
                f"metric={self.metric!r} must be the name of a result, or None; for several objectives use "
                f"create_study(metric=[...], mode=[...]) and study.optimize"
            )
        if self.mode not in (None, "min", "max"):
            raise InvalidArgument(f"mode={self.mode!r} must be 'min' or 'max'")
        points = self.points_to_evaluate
        is_list = isinstance(points, Sequence) and not isinstance(points, str)
        if points is not None and not (is_list and all(isinstance(point, Mapping) for point in points)):
            raise InvalidArgumentType(f"points_to_evaluate={points!r} must be a list of configurations, each a dict")
        seed = self.own_seed
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise InvalidArgument(f"{self._seed_argument}={seed!r} must be an integer >= 0, or None")

    @property
    def batch_size(self) -> int:
        """Trials that start together; 0 for no batches."""
        return 0

    @property
    def own_seed(self) -> int | None:
        """The seed that was given to this searcher. In a run without a seed it is the run's."""
        seed: int | None = getattr(self, self._seed_argument, None)
        return seed

    def space_with(self, config: Mapping[str, Any] | None) -> dict[str, Any]:
        """The definition of the space to search: the searcher's own and the constants of ``config``, or ``config``.

        Raises:
            InvalidArgument: both say what to search, or both hold the same entry.
        """
        constants = dict(config or {})
        if self.space is None:
            return constants
        given = Space(constants)
        twice = sorted({*given.domains, *given.grids, *(key for key in constants if key in self.space)})
        if twice or given.has_computed:
            raise InvalidArgument(
                f"the search space is given twice, in config ({', '.join(map(str, twice)) or 'sample_from'}) and in "
                f"{type(self).__name__} ({', '.join(map(str, self.space))}); leave it in one place"
            )
        own = Space(self.space)
        if self.space and not (own.domains or own.grids or own.has_computed):
            raise InvalidArgument(
                f"space={dict(self.space)!r} of {type(self).__name__} holds nothing to search; write its entries as "
                f"tuneflow's domains, tune.uniform(0, 1) for (0, 1)"
            )
        return {**constants, **self.space}

    def to_sampler(self, *, space: Space | None = None, seed: int | None = None) -> BaseSampler:
        """A sampler that does what this searcher says.

        Args:
            space: the whole space of the run.
            seed: the run's; None for the searcher's own, or for a random one.

        Raises:
            InvalidArgument: both have a seed, and not the same.
            MissingLibrary: the searcher's library is not installed; the message says how to install it.
        """
        own = self.own_seed
        if own is not None and seed is not None and own != seed:
            raise InvalidArgument(
                f"the seed is given twice, in the run ({seed}) and in {type(self).__name__} "
                f"({self._seed_argument}={own}); leave it in one place"
            )
        chosen = own if seed is None else seed
        return self._sampler(space, None if chosen is None else derive(chosen, 0))

    @abstractmethod
    def _sampler(self, space: Space | None, seed: int | None) -> BaseSampler: ...


def _check_space(space: object) -> None:
    if callable(space):
        raise InvalidArgumentType(
            "space is a function; pass an objective(trial) that suggests its parameters to tune.run instead"
        )
    if not isinstance(space, Mapping):
        raise InvalidArgumentType(f"space={space!r} must be a dict of domains, tune.uniform(0, 1) for instance")
    foreign = [key for key, value in space.items() if type(value).__module__.startswith("optuna.distributions")]
    if foreign:
        raise InvalidArgumentType(
            f"space holds Optuna's distributions ({', '.join(map(str, foreign))}); write them as domains: "
            f"tune.uniform, tune.loguniform, tune.quniform, tune.randint, tune.choice, ..."
        )
    Space(space)
