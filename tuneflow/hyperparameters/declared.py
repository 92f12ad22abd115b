"""The hyperparameters of one build: the space that was declared so far, and the values in force."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.hyperparameters.kinds import parameter_from
from tuneflow.hyperparameters.numeric import Float, Int
from tuneflow.hyperparameters.parameters import Boolean, Choice, Condition, Fixed, Parameter

__all__ = ["HyperParameters"]

_Key = tuple[str, tuple[Condition, ...]]


class HyperParameters:
    """A space that grows as code declares it, and one value of each hyperparameter that counts.

    Each of ``Choice``, ``Int``, ``Float``, ``Boolean`` and ``Fixed`` declares a hyperparameter and returns its value:
    in a trial the one that was drawn, else the default. Identity is the name together with the conditions.

    Attributes:
        values: by name; of those that count only.
        active_scopes: the conditional scopes that were entered and held, as tuples of conditions.
        inactive_scopes: those that were entered and did not hold.

    Example:
        >>> hp = HyperParameters()
        >>> kind = hp.Choice("kind", ["linear", "deep"])
        >>> with hp.conditional_scope("kind", ["deep"]):
        ...     layers = hp.Int("layers", 1, 3)
        >>> kind, layers, [parameter.name for parameter in hp.space]
        ('linear', None, ['kind', 'layers'])
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.active_scopes: list[tuple[Condition, ...]] = []
        self.inactive_scopes: list[tuple[Condition, ...]] = []
        self._space: dict[_Key, Parameter] = {}
        self._owners: dict[str, Parameter] = {}
        self._name_scopes: list[str] = []
        self._conditions: list[Condition] = []
        self._overrides: frozenset[_Key] = frozenset()
        self._draw: Callable[[Parameter], Any] | None = None

    # Declaring

    def Choice(  # noqa: N802 - KerasTuner's names, here and below
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """One of ``values``: all str, int, float or bool. The default is the first."""
        fields = {
            "values": values,
            "ordered": ordered,
            "given_default": default,
        }
        return self._declare(Choice, name, fields, parent_name, parent_values)

    def Int(  # noqa: N802
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """An integer, both bounds included. Under ``sampling="log"`` the step multiplies."""
        fields = {
            "min_value": min_value,
            "max_value": max_value,
            "step": step,
            "sampling": sampling,
            "given_default": default,
        }
        return self._declare(Int, name, fields, parent_name, parent_values)

    def Float(  # noqa: N802
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """A real number, both bounds included. Under ``sampling="log"`` the step multiplies."""
        fields = {
            "min_value": min_value,
            "max_value": max_value,
            "step": step,
            "sampling": sampling,
            "given_default": default,
        }
        return self._declare(Float, name, fields, parent_name, parent_values)

    def Boolean(  # noqa: N802
        self, name: str, default: bool = False, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """True or False."""
        return self._declare(Boolean, name, {"given_default": default}, parent_name, parent_values)

    def Fixed(  # noqa: N802
        self, name: str, value: Any, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """A value that is not tuned."""
        return self._declare(Fixed, name, {"value": value}, parent_name, parent_values)

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Inside, names are prefixed with ``name/``."""
        self._name_scopes.append(name)
        try:
            yield
        finally:
            self._name_scopes.pop()

    @contextlib.contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Inside, hyperparameters count only where ``parent_name`` has one of ``parent_values``.

        The code inside runs either way; where the condition does not hold, hyperparameters are declared and are None.

        Raises:
            InvalidArgument: the parent was not declared before, or never has one of the values.
        """
        name = self._full(parent_name)
        listed = parent_values if isinstance(parent_values, (list, tuple)) else [parent_values]
        condition = Condition(name, tuple(listed))
        parents = [parameter for parameter in self._space.values() if parameter.name == name]
        if not parents:
            known = ", ".join(dict.fromkeys(parameter.name for parameter in self._space.values()))
            raise InvalidArgument(
                f"conditional_scope({name!r}, {listed!r}): {name!r} was not declared before; known are: "
                f"{known or 'none'}"
            )
        if not any(parent.contains(value) for parent in parents for value in listed):
            raise InvalidArgument(
                f"conditional_scope({name!r}, {listed!r}) can never hold: {name!r} is {parents[0].text()}"
            )
        self._conditions.append(condition)
        held = self.active_scopes if condition.is_active(self.values) else self.inactive_scopes
        held.append(tuple(self._conditions))
        try:
            yield
        finally:
            self._conditions.pop()

    # Reading

    def get(self, name: str) -> Any:
        """The value of a hyperparameter that counts.

        Raises:
            KeyError: there is none of this name.
            ValueError: it does not count under the values of the others.
        """
        full = self._full(name)
        if full in self.values:
            return self.values[full]
        if any(parameter.name == full for parameter in self._space.values()):
            raise InvalidArgument(f"hyperparameter {full!r} is inactive: its conditions do not hold")
        raise KeyError(f"there is no hyperparameter {full!r}; known are: {', '.join(self.values) or 'none'}")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._full(name) in self.values

    @property
    def space(self) -> list[Parameter]:
        """The declared hyperparameters, in the order in which they were first met."""
        return list(self._space.values())

    def is_active(self, parameter: Parameter | str) -> bool:
        """Whether the conditions of a hyperparameter, or of any one of a name, hold."""
        if isinstance(parameter, str):
            return any(self.is_active(known) for known in self._space.values() if known.name == parameter)
        return all(condition.is_active(self.values) for condition in parameter.conditions)

    def __repr__(self) -> str:
        return f"HyperParameters({self.values})"

    # Taking over

    def copy(self) -> HyperParameters:
        """Space and values, apart from whatever trial draws them."""
        made = HyperParameters()
        made.values = dict(self.values)
        made._space = dict(self._space)
        made._owners = dict(self._owners)
        made._overrides = self._overrides
        return made

    def fresh(self, values: Mapping[str, Any] | None = None) -> HyperParameters:
        """The same space with other values, none without any."""
        made = self.copy()
        made.values = dict(values or {})
        made._owners = {}
        return made

    def drawing(self, draw: Callable[[Parameter], Any]) -> HyperParameters:
        """The same space without values; ``draw`` gives the value of each hyperparameter that is met and counts."""
        made = self.fresh()
        made._draw = draw
        return made

    def merge(self, others: HyperParameters | Iterable[Parameter]) -> list[Parameter]:
        """Adds what is not known yet. Returns what was added."""
        listed = others.space if isinstance(others, HyperParameters) else list(others)
        added = [other for other in listed if (other.name, other.conditions) not in self._space]
        for other in added:
            self._space[other.name, other.conditions] = other
        return added

    def override(self) -> None:
        """From now on what is declared here goes before what code declares under the same name and conditions."""
        self._overrides = frozenset(self._space)

    def param_name(self, parameter: Parameter) -> str:
        """The Optuna parameter that stands for one: its name, unless another domain of the same name came first."""
        first = next((known for known in self._space.values() if known.name == parameter.name), parameter)
        if first.has_domain_of(parameter):
            return parameter.name
        conditions = ", ".join(
            f"{condition.name}={'|'.join(map(str, condition.values))}" for condition in parameter.conditions
        )
        return f"{parameter.name} [{conditions}]"

    def get_config(self) -> dict[str, Any]:
        """Space and values as JSON values, in KerasTuner's form."""
        space = [
            {"class_name": type(parameter).__name__, "config": parameter.get_config()}
            for parameter in self._space.values()
        ]
        return {"space": space, "values": dict(self.values)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameters:
        """What ``get_config`` described."""
        made = cls()
        made.merge(parameter_from(entry["class_name"], entry["config"]) for entry in config["space"])
        made.values = dict(config.get("values", {}))
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_draw": None}  # a trial does not travel

    def __deepcopy__(self, memo: dict[int, Any]) -> HyperParameters:
        made = self.copy()
        made.values = copy.deepcopy(self.values, memo)
        return made

    # Inside

    def _full(self, name: str) -> str:
        return "/".join([*self._name_scopes, name]) if self._name_scopes else name

    def _declare(
        self, kind: type[Parameter], name: str, fields: Mapping[str, Any], parent: str | None, values: Any
    ) -> Any:
        """The value of a hyperparameter, which exists only where its parent, if it has one, has one of ``values``."""
        with contextlib.nullcontext() if parent is None else self.conditional_scope(parent, values):
            return self._value_of(kind(name=self._full(name), conditions=tuple(self._conditions), **fields))

    def _value_of(self, parameter: Parameter) -> Any:
        key = (parameter.name, parameter.conditions)
        known = self._space.get(key)
        if known is None:
            self._space[key] = known = parameter
        elif key not in self._overrides and not known.has_domain_of(parameter):
            raise InvalidArgument(
                f"hyperparameter {parameter.name!r} is declared as {parameter.text()}, and was declared as "
                f"{known.text()} before; give one of them another name"
            )
        if not self.is_active(known):
            return None
        owner = self._owners.setdefault(known.name, known)
        if owner is not known and not owner.has_domain_of(known):
            raise InvalidArgument(
                f"hyperparameter {known.name!r} is {owner.text()} under {_said(owner)} and {known.text()} under "
                f"{_said(known)}, and both hold at once; give one of them another name"
            )
        if known.name not in self.values:
            self.values[known.name] = known.default if self._draw is None else self._draw(known)
        return self.values[known.name]


def _said(parameter: Parameter) -> str:
    said = " and ".join(f"{condition.name} in {list(condition.values)}" for condition in parameter.conditions)
    return said or "no condition"
