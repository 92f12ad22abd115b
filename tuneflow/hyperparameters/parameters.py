"""One declared hyperparameter: its values, its default, the conditions under which it counts.

Each says the Optuna parameter it is drawn as. Where Optuna has no such distribution it is the nearest one:

* ``sampling="log"`` or ``"reverse_log"`` with a ``step``: a categorical parameter among the values themselves;
* ``sampling="reverse_log"`` without a step: the mirror image ``min + max - value``, drawn logarithmically, as the
  parameter ``NAME:mirrored``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = [
    "Boolean",
    "Choice",
    "Condition",
    "Fixed",
    "Float",
    "Int",
    "Parameter",
    "Suggesting",
    "is_same",
    "parameter_from",
]

_SAMPLINGS = ("linear", "log", "reverse_log")
_SCALARS = (str, int, float, bool)


class Suggesting(Protocol):
    """What draws values: a trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


def is_same(left: object, right: object) -> bool:
    """Equality that tells True from 1."""
    return left == right and isinstance(left, bool) is isinstance(right, bool)


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds where the hyperparameter ``name`` has one of ``values``."""

    name: str
    values: tuple[Any, ...]

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for these values of hyperparameters."""
        return self.name in values and any(is_same(values[self.name], value) for value in self.values)

    def get_config(self) -> dict[str, Any]:
        """As JSON values, in KerasTuner's form."""
        return {"class_name": "Parent", "config": {"name": self.name, "values": list(self.values)}}


@dataclass(frozen=True, kw_only=True)
class Parameter(ABC):
    """A declared hyperparameter; its identity is the name together with the conditions.

    Attributes:
        name: with the name scopes that it stands in, "optimizer/lr".
        conditions: all of them must hold for it to count; outermost scope first.
    """

    name: str
    conditions: tuple[Condition, ...] = ()

    @property
    @abstractmethod
    def default(self) -> Any:
        """The value where nothing draws one."""

    @abstractmethod
    def suggest(self, trial: Suggesting, name: str) -> Any:
        """Draws a value as the Optuna parameter ``name``."""

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether it can have this value."""

    @abstractmethod
    def _own_config(self) -> dict[str, Any]:
        """What tells it from others of its kind, as JSON values."""

    def get_config(self) -> dict[str, Any]:
        """Everything about it as JSON values, in KerasTuner's form and order."""
        conditions = [condition.get_config() for condition in self.conditions]
        own = self._own_config()
        head = {"default": own.pop("default")} if "default" in own else {}
        return {"name": self.name, **head, "conditions": conditions, **own}

    def has_domain_of(self, other: Parameter) -> bool:
        """Whether both can have the same values, drawn in the same way."""
        if type(self) is not type(other):
            return False
        mine, theirs = self._own_config(), other._own_config()
        return repr(_without_default(mine)) == repr(_without_default(theirs))

    def text(self) -> str:
        """Its domain in one line, for messages: "Int(min_value=1, max_value=3)"."""
        own = {name: value for name, value in self._own_config().items() if value is not None}
        inside = ", ".join(f"{name}={value!r}" for name, value in own.items())
        return f"{type(self).__name__}({inside})"


def _without_default(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("default", "ordered")}


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidArgumentType(f"name={name!r} of a hyperparameter must be a text that is not empty")
    return name


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of some values, all of them str, int, float or bool.

    Example:
        >>> Choice(name="units", values=(32, 64)).default
        32
    """

    values: Sequence[Any]
    ordered: bool | None = None
    given_default: Any = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        what = f"Choice({self.name!r}, values={self.values!r})"
        if isinstance(self.values, str) or not isinstance(self.values, Sequence):
            raise InvalidArgumentType(f"{what}: values must be a list")
        values = tuple(_plain(value) for value in self.values)
        if not values:
            raise InvalidArgument(f"{what}: values must hold at least one value")
        kinds = {type(value) for value in values}
        if len(kinds) > 1 or not issubclass(next(iter(kinds)), _SCALARS):
            raise InvalidArgumentType(
                f"{what}: values must all be of one type, str, int, float or bool; name other objects and look them "
                f"up by name"
            )
        if len(set(values)) < len(values) or not all(value == value for value in values):
            raise InvalidArgument(f"{what}: values must differ from each other and not be NaN")
        is_numeric = not isinstance(values[0], (str, bool))
        if self.ordered and not is_numeric:
            raise InvalidArgument(f"{what}: ordered=True needs numbers")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "ordered", is_numeric if self.ordered is None else self.ordered)
        if self.given_default is not None and not self.contains(self.given_default):
            raise InvalidArgument(f"{what}: default={self.given_default!r} must be one of the values")

    @property
    def default(self) -> Any:
        return self.values[0] if self.given_default is None else self.given_default

    def suggest(self, trial: Suggesting, name: str) -> Any:
        return trial.suggest_categorical(name, list(self.values))

    def contains(self, value: object) -> bool:
        return any(is_same(option, value) for option in self.values)

    def _own_config(self) -> dict[str, Any]:
        return {"default": self.default, "values": list(self.values), "ordered": self.ordered}


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python value that it stands for."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


@dataclass(frozen=True, kw_only=True)
class Boolean(Parameter):
    """True or False.

    Example:
        >>> Boolean(name="shuffle").default
        False
    """

    given_default: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not isinstance(self.given_default, bool):
            raise InvalidArgumentType(f"Boolean({self.name!r}): default={self.given_default!r} must be True or False")

    @property
    def default(self) -> bool:
        return self.given_default

    def suggest(self, trial: Suggesting, name: str) -> Any:
        return trial.suggest_categorical(name, [True, False])

    def contains(self, value: object) -> bool:
        return isinstance(value, bool)

    def _own_config(self) -> dict[str, Any]:
        return {"default": self.default}


@dataclass(frozen=True, kw_only=True)
class Fixed(Parameter):
    """A value that is not tuned; no Optuna parameter stands for it.

    Example:
        >>> Fixed(name="epochs", value=3).default
        3
    """

    value: Any

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "value", _plain(self.value))
        if not isinstance(self.value, _SCALARS):
            raise InvalidArgumentType(f"Fixed({self.name!r}, {self.value!r}): value must be a str, int, float or bool")

    @property
    def default(self) -> Any:
        return self.value

    def suggest(self, trial: Suggesting, name: str) -> Any:
        return self.value

    def contains(self, value: object) -> bool:
        return is_same(self.value, value)

    def _own_config(self) -> dict[str, Any]:
        return {"value": self.value}


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
        _check_name(self.name)
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


_KINDS: dict[str, type[Parameter]] = {kind.__name__: kind for kind in (Choice, Boolean, Fixed, Int, Float)}


def parameter_from(kind: str, config: Mapping[str, Any]) -> Parameter:
    """The hyperparameter that ``get_config`` described.

    Raises:
        InvalidArgument: there is no such kind.
    """
    if kind not in _KINDS:
        raise InvalidArgument(f"there is no hyperparameter of kind {kind!r}; known are: {', '.join(_KINDS)}")
    given = dict(config)
    conditions = tuple(
        Condition(entry["config"]["name"], tuple(entry["config"]["values"])) for entry in given.pop("conditions", ())
    )
    if "default" in given:
        given["given_default"] = given.pop("default")
    if "values" in given:
        given["values"] = tuple(given["values"])
    return _KINDS[kind](conditions=conditions, **given)
