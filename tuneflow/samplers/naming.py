"""From a name to an Optuna sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tuneflow import registry
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MissingLibrary, UnknownName

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuneflow.space import Space

__all__ = ["make_sampler", "sampler_names"]


def _plain(class_name: str) -> Callable[[Space | None, int | None], BaseSampler]:
    def make(_: Space | None, seed: int | None) -> BaseSampler:
        import optuna.samplers

        sampler: BaseSampler = getattr(optuna.samplers, class_name)(seed=seed)
        return sampler

    return make


def _needing(class_name: str, *libraries: str) -> Callable[[Space | None, int | None], BaseSampler]:
    def make(space: Space | None, seed: int | None) -> BaseSampler:
        from importlib.util import find_spec

        for library in libraries:
            if find_spec(library) is None:
                raise MissingLibrary(library, {"torch": "torch"}.get(library, library))
        return _plain(class_name)(space, seed)

    return make


def _random(_: Space | None, seed: int | None) -> BaseSampler:
    from tuneflow.samplers.random import RandomSampler

    return RandomSampler(seed=seed)


def _grid(space: Space | None, seed: int | None) -> BaseSampler:
    import optuna.samplers

    if space is not None and space.has_grid:
        raise InvalidArgument(
            "sampler='grid' tries all of a space's choices, and this one has grid_search entries, which take turns "
            "with any sampler; leave the sampler out, or write tune.choice for tune.grid_search"
        )
    return optuna.samplers.GridSampler(_finite_values(space, "grid"), seed=seed)


def _brute_force(space: Space | None, seed: int | None) -> BaseSampler:
    import optuna.samplers

    if space is not None:
        _finite_values(space, "bruteforce")
    return optuna.samplers.BruteForceSampler(seed=seed)


def _finite_values(space: Space | None, sampler: str) -> Mapping[str, list[Any]]:
    """All values of each parameter, as Optuna parameters; continuous ones are refused."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if space is None:
        raise InvalidArgument(
            f"sampler={sampler!r} needs the space when the study is created: create_study(space={{...}}), "
            f"or pass optuna.samplers.GridSampler(search_space)"
        )
    values: dict[str, list[Any]] = {}
    for name, distribution in space.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            values[name] = list(distribution.choices)
        elif isinstance(distribution, IntDistribution) and not distribution.log:
            values[name] = list(range(distribution.low, distribution.high + 1, distribution.step))
        elif isinstance(distribution, IntDistribution):
            values[name] = list(range(distribution.low, distribution.high + 1))
        elif isinstance(distribution, FloatDistribution) and distribution.step is not None:
            n_steps = round((distribution.high - distribution.low) / distribution.step)
            values[name] = [distribution.low + k * distribution.step for k in range(n_steps + 1)]
        else:
            raise InvalidArgument(
                f"sampler={sampler!r} cannot enumerate {name!r}, which is continuous; give it a step "
                f"(quniform), a choice, or use another sampler"
            )
    return values


_MAKERS: dict[str, Callable[[Any, int | None], BaseSampler]] = {
    "tpe": _plain("TPESampler"),
    "random": _random,
    "gp": _needing("GPSampler", "torch", "scipy"),
    "cmaes": _needing("CmaEsSampler", "cmaes"),
    "nsgaii": _plain("NSGAIISampler"),
    "nsgaiii": _plain("NSGAIIISampler"),
    "qmc": _needing("QMCSampler", "scipy"),
    "grid": _grid,
    "bruteforce": _brute_force,
}
_ALIASES = {
    "cma-es": "cmaes",
    "cma": "cmaes",
    "nsga2": "nsgaii",
    "nsga3": "nsgaiii",
    "brute_force": "bruteforce",
    "rustuna-tpe": "rustuna",
    "rustuna-cma-es": "rustuna-cmaes",
}


def sampler_names() -> list[str]:
    """Every name that ``sampler=`` takes."""
    return sorted({*_MAKERS, *registry.known("sampler")})


def make_sampler(given: object, *, space: Space | None, seed: int | None) -> BaseSampler:
    """The sampler that ``create_study(sampler=...)`` asks for.

    Args:
        given: None (TPE), a name, or an Optuna sampler, which is passed on as it is.
        space: the declared space; grid and brute force enumerate it.
        seed: for a sampler that is made here.

    Raises:
        UnknownName: no such name; the message lists all of them.
        MissingLibrary: the sampler's library is not installed.
        InvalidArgument: grid or brute force with a continuous domain.
        InvalidArgumentType: neither a name nor an Optuna sampler.
    """
    from optuna.samplers import BaseSampler

    if given is None:
        given = "tpe"
    if isinstance(given, BaseSampler):
        return given
    if isinstance(given, str):
        name = _ALIASES.get(given.lower(), given.lower())
        if name in _MAKERS:
            return _MAKERS[name](space, seed)
        if name not in registry.known("sampler"):
            raise UnknownName("sampler", given, sampler_names())
        made: BaseSampler = registry.resolve("sampler", name)(space=space, seed=seed)
        return made
    raise InvalidArgumentType(
        f"sampler={given!r} is neither a name nor an optuna sampler; names: {', '.join(sampler_names())}"
    )
