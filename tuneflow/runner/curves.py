"""What simulated trials report: learning curves, as functions or as tables."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.samplers.seeding import derive

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Curve", "curve_from"]


class Curve(ABC):
    """What each trial reports at each step."""

    @abstractmethod
    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        """The result of ``step`` (from 1): a number or a dict of metrics."""

    def n_steps(self, trial: int) -> int | None:
        """How many steps the trial's curve has; None for no end."""
        return None


class _FunctionCurve(Curve):
    """``function(config, step)``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        return self._function(config, step)


class _SeededCurve(Curve):
    """``function(config, step, seed)``."""

    def __init__(self, function: Callable[..., Any], seed: int) -> None:
        self._function, self._seed = function, seed

    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        return self._function(config, step, derive(self._seed, trial, step))


class _NoisyCurve(Curve):
    """``function(config, step, rng)``.

    Philox is a counter-based generator (Salmon et al. 2011): with the trial in its key and the step in its counter,
    one generator serves all of them, where making one for each would take longer than the rest of a report.
    """

    def __init__(self, function: Callable[..., Any], seed: int) -> None:
        import numpy as np

        self._function = function
        self._bits = np.random.Philox(key=[derive(seed), 0], counter=0)
        self._generator = np.random.Generator(self._bits)
        self._state: dict[str, Any] = dict(self._bits.state)

    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        return self._function(config, step, self._generator_at(trial, step))

    def _generator_at(self, trial: int, step: int) -> np.random.Generator:
        state = self._state
        state["state"]["key"][1] = trial
        state["state"]["counter"][:] = (0, step, 0, 0)
        self._bits.state = state  # type: ignore[assignment]
        return self._generator


class _RowCurve(Curve):
    """Trial i follows row i of what was recorded; the rows may differ in length."""

    def __init__(self, rows: Mapping[int, Any]) -> None:
        self._rows = rows

    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        return self._row(trial)[step - 1]

    def n_steps(self, trial: int) -> int | None:
        return len(self._row(trial))

    def _row(self, trial: int) -> Any:
        try:
            return self._rows[trial]
        except KeyError:
            raise InvalidArgument(
                f"the table of curves has no row for trial {trial}; it has {len(self._rows)} rows, and every trial "
                f"needs one: run fewer trials, or give a function curve(config, step)"
            ) from None


class _MetricCurve(Curve):
    """Several metrics at a time, each with a curve of its own."""

    def __init__(self, curves: Mapping[str, Curve]) -> None:
        self._curves = curves

    def at(self, trial: int, config: Mapping[str, Any], step: int) -> Any:
        return {name: curve.at(trial, config, step) for name, curve in self._curves.items()}

    def n_steps(self, trial: int) -> int | None:
        lengths = [length for curve in self._curves.values() if (length := curve.n_steps(trial)) is not None]
        return min(lengths, default=None)


def curve_from(given: Any, seed: int) -> Curve:
    """What simulated trials report, from what ``SimulatedExecutor`` takes.

    Args:
        given: a function ``curve(config, step)``, ``curve(config, step, rng)`` or ``curve(config, step, seed)``; a
            table of shape (n_trials, n_steps); a dict from trial number to a sequence of results; a dict from metric
            to any of these.
        seed: what the randomness of each (trial, step) is derived from, >= 0.

    Raises:
        InvalidArgumentType: it is none of these.
        InvalidArgument: a table without rows or of another shape.
    """
    if isinstance(given, Curve):
        return given
    if callable(given):
        return _from_function(given, seed)
    if isinstance(given, Mapping):
        if not given:
            raise InvalidArgument("curve={} is empty; give one curve per trial number or per metric")
        if all(isinstance(key, str) for key in given):
            return _MetricCurve({name: curve_from(inner, seed) for name, inner in given.items()})
        if all(isinstance(key, int) and not isinstance(key, bool) for key in given):
            return _RowCurve(given)
        raise InvalidArgumentType(
            f"curve has the keys {', '.join(map(repr, list(given)[:5]))}; they must be trial numbers, or names of "
            f"metrics, all of one kind"
        )
    return _from_table(given)


def _from_table(given: Any) -> Curve:
    import numpy as np

    try:
        table = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise InvalidArgumentType(
            f"curve={given!r:.100} must be a function curve(config, step), a table of shape (n_trials, n_steps) or a "
            f"dict of curves"
        ) from None
    if table.ndim != 2 or not table.size:
        raise InvalidArgument(f"the table of curves has shape {table.shape}; it must be (n_trials, n_steps)")
    # Lists of Python floats: reading one number out of an array costs ten times as much.
    return _RowCurve(dict(enumerate(table.tolist())))


def _from_function(function: Callable[..., Any], seed: int) -> Curve:
    third = _third_parameter(function)
    if third is None:
        return _FunctionCurve(function)
    return _SeededCurve(function, seed) if third == "seed" else _NoisyCurve(function, seed)


def _third_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the parameter that takes randomness, None where there is none.

    A third parameter with a default binds a value of the user's, as in ``lambda config, step, table=table: ...``,
    unless its name says otherwise.

    Raises:
        InvalidArgumentType: the function takes fewer than two arguments, or needs more than three.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function written in C need not have one
        return None
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters) and len(positional) < 3:
        return None
    n_required = sum(parameter.default is parameter.empty for parameter in positional)
    if len(positional) < 2 or n_required > 3:
        names = ", ".join(parameter.name for parameter in positional)
        raise InvalidArgumentType(
            f"the curve {getattr(function, '__name__', function)!s}({names}) must take (config, step), (config, step, "
            f"rng) or (config, step, seed)"
        )
    if len(positional) == 2:
        return None
    third = positional[2]
    return third.name if n_required == 3 or third.name in ("rng", "seed") else None
