"""Population based bandits: PBT that learns where to go instead of perturbing at random."""

from __future__ import annotations

import importlib.util
import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneflow.arguments import check_real
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MissingLibrary
from tuneflow.pruners.base import Decision, Exploit
from tuneflow.pruners.configs import from_json, get_entry, to_json
from tuneflow.pruners.explore import CustomExplore, apply_custom, changed_config, check_names, flatten_mutations
from tuneflow.pruners.pbt import PBT
from tuneflow.pruners.population import Member

if TYPE_CHECKING:
    import numpy as np
    from optuna.trial import TrialState

    from tuneflow.space import Space

__all__ = ["PB2"]

_MOST_PENDING = 32


@dataclass(frozen=True, slots=True)
class _Axis:
    """One hyperparameter on [0, 1].

    Attributes:
        lower: the value at 0.
        upper: the value at 1, above ``lower``.
        is_log: whether the way between goes by the logarithm.
        is_integer: whether both bounds were given as integers.
        domain: brings values into the domain's own type and grid; None where bounds were given.
    """

    lower: float
    upper: float
    is_log: bool
    is_integer: bool
    domain: Any

    def to_unit(self, value: Any) -> float:
        """Where a value stands; the middle for what is no number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return 0.5
        inside: float = min(max(value, self.lower), self.upper)
        if self.is_log:
            return math.log(inside / self.lower) / math.log(self.upper / self.lower)
        return (inside - self.lower) / (self.upper - self.lower)

    def to_value(self, unit: float, before: Any) -> Any:
        """The value at ``unit``, of the type of ``before`` where bounds alone leave it open."""
        if self.is_log:
            value = self.lower * (self.upper / self.lower) ** unit
        else:
            value = self.lower + (self.upper - self.lower) * unit
        value = min(max(value, self.lower), self.upper)
        if self.domain is not None:
            return self.domain.clip(value)
        return round(value) if self.is_integer and not isinstance(before, float) else float(value)


# (step, trial, origin, unit coordinates, value): what a member had become at an interval. The origin is the (trial,
# step) whose weights it started from: itself an interval earlier, or its donor. Rows sort by step and trial.
_Row = tuple[int, int, tuple[int, int] | None, tuple[float, ...], float]


class PB2(PBT):
    """Population based bandits (Parker-Holder et al. 2020, arXiv 2002.02518).

    Everything is as in ``PBT`` but for the explored configuration: a Gaussian process over time and hyperparameters is
    fitted to how fast members improved from interval to interval, and the point with the highest upper confidence
    bound is taken. Time and points under way count as in the paper (``tuneflow/pruners/bandit.py``). With fewer than
    four improvements known, the point is drawn at random.

    The improvement of a member after an exploit counts from its donor's score at that step. The latest ``window``
    observations are used, which bounds the cost of an exploit (10 to 40 ms); reports without one stay as
    cheap as those of ``PBT``. Needs scikit-learn: ``pip install 'tuneflow[pb2]'``.

    Args:
        mutations: numeric hyperparameters by name, nested or flat: domains with bounds.
        population_size: as in ``PBT``, like the following.
        perturbation_interval: steps from one decision of a member to its next.
        quantile_fraction: share of the population that is replaced.
        burn_in: step before which nothing happens.
        synchronous: whether the population decides together.
        custom_explore: ``(config, rng) -> config``, applied last.
        bounds: ``{"lr": (lower, upper)}``, both included, on top of ``mutations``. Where the space's own domain of that
            name is logarithmic, so is the way between; two integers give integers.
        window: how many observations are kept, >= 8.

    Raises:
        InvalidArgument: nothing to mutate, bounds that do not grow, a name given twice, or an argument of ``PBT``'s out
            of its range; from ``bind``, a name that the space lacks.
        InvalidArgumentType: a mutation that has no bounds: choices, lists, functions.
        MissingLibrary: scikit-learn is not installed.

    Example:
        >>> import numpy
        >>> pb2 = PB2(bounds={"lr": (0.0, 1.0)}, perturbation_interval=2)
        >>> pb2.bind(None, numpy.random.default_rng(0))
        >>> for trial in range(2):
        ...     pb2.on_start(trial, {"lr": 0.5})
        >>> pb2.on_report(0, 2, 0.3, checkpoint=True)
        Continue(save=True)
        >>> exploit = pb2.on_report(1, 2, 0.7, checkpoint=True)
        >>> exploit.donor, 0 <= exploit.config["lr"] <= 1
        (0, True)
    """

    def __init__(
        self,
        mutations: Mapping[str, Any] | None = None,
        population_size: int | None = None,
        perturbation_interval: int = 5,
        quantile_fraction: float = 0.25,
        burn_in: int = 0,
        synchronous: bool = False,
        custom_explore: CustomExplore | None = None,
        *,
        bounds: Mapping[str, Any] | None = None,
        window: int = 100,
    ) -> None:
        self._set_population(population_size, perturbation_interval, quantile_fraction, burn_in, synchronous)
        check_real("window", window)
        if not math.isfinite(window) or window != int(window) or window < 8:
            raise InvalidArgument(f"window={window!r} must be a whole number >= 8")
        flat = {"mutations": flatten_mutations(mutations or {}), "bounds": flatten_mutations(bounds or {})}
        self._axes: dict[str, _Axis] = {}
        for argument, entries in flat.items():
            for name, given in entries.items():
                if name in self._axes:
                    raise InvalidArgument(f"{name!r} stands in mutations and in bounds; give it once")
                self._axes[name] = _axis(f"{argument}[{name!r}]", given)
        if not self._axes:
            raise InvalidArgument("PB2 has nothing to mutate; pass bounds={'lr': (1e-4, 1e-1)} or numeric domains")
        if importlib.util.find_spec("sklearn") is None:
            raise MissingLibrary("scikit-learn", "pb2")
        self._custom = custom_explore
        self._window = int(window)
        self._space: Space | None = None
        self._rows: list[_Row] = []
        self._origins: dict[int, tuple[int, int]] = {}
        self._pending: dict[int, tuple[int, tuple[float, ...]]] = {}

    def _bind_space(self, space: Space) -> None:
        check_names(list(self._axes), list(space.flatten(space.definition)))
        self._space = space
        for name, axis in self._axes.items():
            domain = space.domains.get(name)
            if axis.domain is None and domain is not None and axis.lower > 0:
                is_log = bool(getattr(domain.distribution(), "log", False))
                self._axes[name] = _Axis(axis.lower, axis.upper, is_log, axis.is_integer, None)

    def _units(self, config: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple([axis.to_unit(get_entry(config, name)[1]) for name, axis in self._axes.items()])

    def _observe(self, member: Member, step: int, value: float) -> None:
        trial = member.trial
        insort(self._rows, (step, trial, self._origins.get(trial), self._units(member.config), value))
        if len(self._rows) > self._window:
            del self._rows[0]
        self._origins[trial] = trial, step
        self._pending.pop(trial, None)

    def _apply(self, member: Member, decision: Decision, has_checkpoint: bool) -> None:
        super()._apply(member, decision, has_checkpoint)
        if isinstance(decision, Exploit):
            self._origins[member.trial] = decision.donor, member.step
            self._pending[member.trial] = member.step, self._units(member.config)

    def on_end(self, trial: int, state: TrialState) -> None:
        super().on_end(trial, state)
        self._origins.pop(trial, None)
        self._pending.pop(trial, None)

    def _explore(self, config: Mapping[str, Any], member: Member, rng: np.random.Generator) -> dict[str, Any]:
        import numpy as np

        from tuneflow.pruners.bandit import suggest

        observed, improvements = self._improvements()
        latest = sorted((step, trial, units) for trial, (step, units) in self._pending.items())[-_MOST_PENDING:]
        n = len(self._axes)
        units = suggest(
            np.array(observed).reshape(-1, 1 + n),
            np.array(improvements),
            np.array([(step / self._interval, *units) for step, _, units in latest]).reshape(-1, 1 + n),
            member.step / self._interval,
            n,
            rng,
        )
        changes = {
            name: axis.to_value(float(unit), get_entry(config, name)[1])
            for unit, (name, axis) in zip(units, self._axes.items(), strict=True)
        }
        result = changed_config(config, changes, self._space)
        return result if self._custom is None else apply_custom(self._custom, result, rng)

    def _improvements(self) -> tuple[list[tuple[float, ...]], list[float]]:
        """Points (time in intervals, unit coordinates) and the improvement per step from there on."""
        scores: dict[int, list[tuple[int, float]]] = {}
        for step, trial, _, _, value in self._rows:
            scores.setdefault(trial, []).append((step, value))
        observed, improvements = [], []
        for step, _, origin, units, value in self._rows:
            if origin is None:
                continue
            source, start = origin
            # A donor is looked up by its step and not by what it had reported at the time of the copy, which a
            # rebuild could not know.
            earlier = [score for at, score in scores.get(source, ()) if at <= start]
            if earlier and step > start and math.isfinite(earlier[-1]) and math.isfinite(value):
                observed.append((start / self._interval, *units))
                improvements.append((earlier[-1] - value) / (step - start))
        return observed, improvements

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "rows": [
                [step, trial, origin, list(units), to_json(value)] for step, trial, origin, units, value in self._rows
            ],
            "origins": [[trial, *origin] for trial, origin in self._origins.items()],
            "pending": [[trial, step, list(units)] for trial, (step, units) in self._pending.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._rows = [
            (step, trial, None if origin is None else (origin[0], origin[1]), tuple(units), from_json(value))
            for step, trial, origin, units, value in state["rows"]
        ]
        self._origins = {trial: (source, step) for trial, source, step in state["origins"]}
        self._pending = {trial: (step, tuple(units)) for trial, step, units in state["pending"]}


def _axis(name: str, given: Any) -> _Axis:
    from tuneflow.space import Domain

    if isinstance(given, Domain):
        lower, upper = getattr(given, "lower", None), getattr(given, "upper", None)
        if lower is None or upper is None:
            raise InvalidArgumentType(f"{name}={given!r} has no bounds; PB2 mutates bounded numbers, PBT anything")
        return _Axis(float(lower), float(upper), bool(getattr(given.distribution(), "log", False)), False, given)
    numbers = isinstance(given, tuple | list) and len(given) == 2
    if not numbers or not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in given):
        raise InvalidArgumentType(f"{name}={given!r} must be a bounded numeric domain or (lower, upper)")
    lower, upper = given
    if not -math.inf < lower < upper < math.inf:
        raise InvalidArgument(f"{name}={given!r} must be finite, the lower bound below the upper")
    return _Axis(float(lower), float(upper), False, all(isinstance(bound, int) for bound in given), None)
