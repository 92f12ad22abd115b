"""What a run is to optimise and how, from the arguments of ``tune.run`` and of the objects given to it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from tuneflow.arguments import refuse_class
from tuneflow.creation import pruner_from, sampler_seed
from tuneflow.errors import InvalidArgument, InvalidArgumentType, TuneflowWarning
from tuneflow.plain import plain
from tuneflow.samplers import make_sampler
from tuneflow.schedulers.replay import PopulationBasedTrainingReplay
from tuneflow.space import Space
from tuneflow.space.sections import split_sections

__all__ = ["Settings", "either"]


class Settings:
    """What to optimise and how, from the arguments of ``run`` and of the objects given to it.

    Attributes:
        sections: trackers' settings that stood in the configuration, by the tracker's name.
    """

    def __init__(
        self,
        trainable: Any,
        config: Mapping[str, Any] | None,
        metric: str | None,
        mode: str | None,
        num_samples: Any,
        search_alg: Any,
        scheduler: Any,
        seed: int | None,
    ) -> None:
        if isinstance(num_samples, bool) or not isinstance(num_samples, Integral):
            raise InvalidArgument(f"num_samples={num_samples!r} must be a whole number, or -1 for no limit")
        if num_samples < -1 or num_samples == 0:
            raise InvalidArgument(f"num_samples={num_samples!r} must be >= 1, or -1 for no limit")
        refuse_class(search_alg=search_alg, scheduler=scheduler)
        if isinstance(scheduler, PopulationBasedTrainingReplay):
            config = _started_with(scheduler, config)
            if metric is None:  # it compares nothing
                metric, mode = scheduler.time_attr, "max"
        searcher = search_alg if hasattr(search_alg, "to_sampler") else None
        self.seed = searcher.own_seed if searcher is not None and seed is None else seed
        varied, self.sections = split_sections(config) if isinstance(config, Mapping) else (config, {})
        self.space = Space(varied or {} if searcher is None else searcher.space_with(varied))
        self.metric = _agreed("metric", metric, search_alg, scheduler)
        self.mode = _agreed("mode", mode, search_alg, scheduler)
        if self.mode not in (None, "min", "max"):
            raise InvalidArgument(f"mode={self.mode!r} must be 'min' or 'max'")
        if self.metric is not None and self.mode is None:
            raise InvalidArgument(f"metric={self.metric!r} needs a mode: pass mode='min' or mode='max'")
        self.cells = self.space.grid_cells()
        self.num_samples = int(num_samples)
        self.n_trials = None if num_samples == -1 else self.num_samples * len(self.cells)
        convert = getattr(scheduler, "to_pruner", None)
        self.pruner = scheduler if convert is None else convert(num_samples=self.n_trials)
        if self.n_trials is not None and getattr(self.pruner, "population_size", self.n_trials) is None:
            self.pruner.population_size = self.n_trials
        self.time_attr = str(getattr(scheduler, "time_attr", None) or "training_iteration")
        self.sampler = search_alg if searcher is None else searcher.to_sampler(space=self.space, seed=self.seed)
        if self.metric is None and self.pruner is not None:
            raise InvalidArgument("a scheduler needs to know what to compare; pass metric= and mode=")
        if self.sampler is None and (self.space.has_grid or self.metric is None):
            self.sampler = "random"
        elif self.space.has_grid and not _is_random(self.sampler):
            raise InvalidArgument(
                f"search_alg={search_alg!r} cannot be combined with grid_search, which fixes values itself; use "
                f"tune.choice for {', '.join(self.space.grids)}, or leave search_alg out"
            )
        elif self.metric is None and not _is_random(self.sampler):
            raise InvalidArgument(f"search_alg={search_alg!r} needs to know what to optimise; pass metric= and mode=")

    def check(self, points: Any) -> None:
        """Finds what a study would refuse, before anything is created."""
        if self.space.has_computed:
            self.space.sample(np.random.default_rng(0))
        make_sampler(self.sampler, space=self.space, seed=sampler_seed(self.seed))
        pruner_from(self.pruner)
        if not isinstance(points, Sequence) or isinstance(points, str):
            raise InvalidArgumentType(f"points_to_evaluate={points!r} must be a list of configurations, each a dict")
        cells = [self.space.split_point(point)[1] for point in points]
        whole = [cell for cell in cells if cell and len(cell) == len(self.space.grids)]
        for cell in whole if self.n_trials is not None else ():
            n_times = sum(1 for other in whole if all(other[name] is value for name, value in cell.items()))
            if n_times > self.num_samples:
                raise InvalidArgument(
                    f"points_to_evaluate holds {n_times} points with {cell}, but every cell of the grid is tried "
                    f"num_samples={self.num_samples} time(s); pass num_samples={n_times}"
                )


def _started_with(replay: PopulationBasedTrainingReplay, config: Any) -> Any:
    """The policy's first configuration, and what else the caller gives."""
    if config is not None and not isinstance(config, Mapping):
        return config  # refused in its turn
    given = dict(config or {})
    replaced = [name for name, value in replay.initial_config.items() if name in given and given[name] is not value]
    differing = [name for name in replaced if plain(given[name]) != plain(replay.initial_config[name])]
    if differing:
        warnings.warn(
            f"config has {', '.join(differing)}, and so has the first configuration of {replay!r}, which is the one "
            f"that the trial starts with; leave them out of config",
            TuneflowWarning,
            stacklevel=4,
        )
    return {**given, **replay.initial_config}


def _is_random(sampler: Any) -> bool:
    return sampler == "random" or type(sampler).__name__ == "RandomSampler"


def _agreed(name: str, given: str | None, *holders: Any) -> str | None:
    """Metric or mode, which may stand in the run, or in its searcher and scheduler."""
    if given is not None and (not isinstance(given, str) or not given):
        raise InvalidArgumentType(
            f"{name}={given!r} must be text, or None; for several objectives use create_study({name}=[...]) and "
            f"study.optimize"
        )
    places = [("tune.run", given)] + [(type(holder).__name__, getattr(holder, name, None)) for holder in holders]
    stated = [(place, value) for place, value in places if isinstance(value, str)]
    if len(stated) > 1 and (given is not None or len({value for _, value in stated}) > 1):
        raise InvalidArgument(
            f"{name} is given twice, in {' and in '.join(f'{place} ({value!r})' for place, value in stated)}; leave it "
            f"in one place"
        )
    return stated[0][1] if stated else None


def either(name: str, given: Any, attribute: str, holder: Any) -> Any:
    """What may stand in the run or in its searcher."""
    own = getattr(holder, attribute, None) or None
    if given is not None and own is not None:
        raise InvalidArgument(
            f"{name}={given!r} of tune.run and {attribute}={own!r} of {type(holder).__name__} say the same thing; "
            f"leave one of them out"
        )
    return own if given is None else given
