"""One declared hyperparameter: its values, its default, the conditions under which it counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = ["Boolean", "Choice", "Condition", "Fixed", "Parameter", "Suggesting", "check_name", "is_same"]

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


def check_name(name: object) -> str:
    """The name of a hyperparameter, if it is one.

    Raises:
        InvalidArgumentType: it is no text, or empty.
    """
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
        check_name(self.name)
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
        check_name(self.name)
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
        check_name(self.name)
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
