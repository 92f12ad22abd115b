"""Hyperparameters that are numbers.

Each says the Optuna parameter that it is drawn as. Where Optuna has no such distribution it is the nearest one:

* ``sampling="log"`` or ``"reverse_log"`` with a ``step``: a categorical parameter among the values themselves;
* ``sampling="reverse_log"`` without a step: the mirror image ``min + max - value``, drawn logarithmically, as the
  parameter ``NAME:mirrored``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.hyperparameters.parameters import Parameter, Suggesting, check_name

__all__ = ["Float", "Int", "Numeric"]

_SAMPLINGS = ("linear", "log", "reverse_log")


@dataclass(frozen=True, kw_only=True)
class Numeric(Parameter):
    """What ``Int`` and ``Float`` share. Both bounds can be had; a ``step`` is added, under "log" it multiplies.

    Attributes:
        min_value: the lower bound.
        max_value: the upper bound, included where a step reaches it.
        step: distance of the values from ``min_value`` on; None for any value.
        sampling: "linear"; "log", each order of magnitude alike; "reverse_log", the same seen from the upper bound.
        given_default: None for ``min_value``, or the least value that the steps reach.
    """

    min_value: float
    max_value: float
    step: float | None = None
    sampling: str = "linear"
    given_default: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        what = f"{type(self).__name__}({self.name!r})"
        for name in ("min_value", "max_value", "step", "given_default"):
            given = getattr(self, name)
            if given is not None or name in ("min_value", "max_value"):
                number = self._number(given, f"{what}: {name.removeprefix('given_')}")
                object.__setattr__(self, name, given if name == "step" else number)
        sampling = "linear" if self.sampling is None else self.sampling
        if sampling not in _SAMPLINGS:
            raise InvalidArgument(f"{what}: sampling={sampling!r} must be one of {', '.join(_SAMPLINGS)}")
        object.__setattr__(self, "sampling", sampling)
        if self.min_value > self.max_value:
            raise InvalidArgument(f"{what}: min_value={self.min_value} must be <= max_value={self.max_value}")
        if sampling != "linear" and self.min_value <= 0:
            raise InvalidArgument(f"{what}: min_value={self.min_value} must be > 0 with sampling={sampling!r}")
        smallest = 0 if sampling == "linear" else 1
        if self.step is not None and self.step <= smallest:
            raise InvalidArgument(f"{what}: step={self.step} must be > {smallest} with sampling={sampling!r}")
        if self.given_default is not None and not self.min_value <= self.given_default <= self.max_value:
            raise InvalidArgument(
                f"{what}: default={self.given_default} must be within [{self.min_value}, {self.max_value}]"
            )

    @abstractmethod
    def _number(self, given: Any, what: str) -> Any:
        """A number of its own type."""

    @property
    def default(self) -> Any:
        if self.given_default is not None:
            return self.given_default
        # Steps that start at the upper bound need not reach the lower one.
        return self._at(self._n_values() - 1) if self.sampling == "reverse_log" and self.step else self.min_value

    @property
    def values(self) -> list[Any] | None:
        """The values that the steps reach; None without a step."""
        if self.step is None:
            return None
        return [self._at(index) for index in range(self._n_values())]

    def _n_values(self) -> int:
        low, high, step = self.min_value, self.max_value, self.step or 1
        if self.sampling == "linear":
            return math.floor((high - low) / step + 1e-8) + 1
        return math.floor(math.log(high / low, step) + 1e-8) + 1

    def _at(self, index: int) -> Any:
        low, high, step = self.min_value, self.max_value, self.step or 1
        if self.sampling == "linear":
            return low + index * step
        grown = low * step**index
        return grown if self.sampling == "log" else high + low - grown

    def suggest(self, trial: Suggesting, name: str) -> Any:
        if self.sampling == "linear":
            high = self.max_value if self.step is None else self._at(self._n_values() - 1)
            return self._suggest(trial, name, high, self.step, False)
        values = self.values
        if values is not None:
            return trial.suggest_categorical(name, values)
        if self.sampling == "log":
            return self._suggest(trial, name, self.max_value, None, True)
        mirrored = self._suggest(trial, f"{name}:mirrored", self.max_value, None, True)
        return self.min_value + self.max_value - mirrored

    @abstractmethod
    def _suggest(self, trial: Suggesting, name: str, high: Any, step: Any, log: bool) -> Any:
        """A value between ``min_value`` and ``high``."""

    def contains(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        if not self.min_value <= value <= self.max_value:
            return False
        if self.step is None:
            return True
        if self.sampling != "linear":
            return any(math.isclose(value, option) for option in self.values or ())
        index = round((value - self.min_value) / self.step)
        return math.isclose(value, self._at(index), rel_tol=1e-9, abs_tol=1e-9 * self.step)

    def _own_config(self) -> dict[str, Any]:
        return {
            "default": self.default,
            "min_value": self.min_value,
            "max_value": self.max_value,
            "step": self.step,
            "sampling": self.sampling,
        }


@dataclass(frozen=True, kw_only=True)
class Int(Numeric):
    """An integer; ``step`` is 1 under "linear" unless it is given.

    Example:
        >>> Int(name="batch_size", min_value=2, max_value=32, step=2, sampling="log").values
        [2, 4, 8, 16, 32]
    """

    def __post_init__(self) -> None:
        if self.step is None and self.sampling in ("linear", None):
            object.__setattr__(self, "step", 1)
        super().__post_init__()

    def _number(self, given: Any, what: str) -> int:
        try:
            number = int(given)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentType(f"{what}={given!r} must be an integer") from None
        if number != given or isinstance(given, bool):
            raise InvalidArgumentType(f"{what}={given!r} must be an integer")
        return number

    def _suggest(self, trial: Suggesting, name: str, high: Any, step: Any, log: bool) -> int:
        return trial.suggest_int(name, int(self.min_value), high, step=step or 1, log=log)

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and super().contains(value)

    def _own_config(self) -> dict[str, Any]:
        return {**super()._own_config(), "default": self.given_default}


@dataclass(frozen=True, kw_only=True)
class Float(Numeric):
    """A real number.

    Example:
        >>> Float(name="lr", min_value=1e-4, max_value=1e-2, sampling="log").default
        0.0001
    """

    def _number(self, given: Any, what: str) -> float:
        try:
            number = float(given)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentType(f"{what}={given!r} must be a number") from None
        if not math.isfinite(number) or isinstance(given, (bool, str)):
            raise InvalidArgumentType(f"{what}={given!r} must be a finite number")
        return number

    def _suggest(self, trial: Suggesting, name: str, high: Any, step: Any, log: bool) -> float:
        return trial.suggest_float(name, self.min_value, high, step=step, log=log)
