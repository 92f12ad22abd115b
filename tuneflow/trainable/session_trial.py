"""The trial that an ``objective(trial)`` gets where it runs: Optuna's methods, answered by the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuneflow.errors import UsageError
from tuneflow.pruners.base import Decision, Exploit, Pause, Stop
from tuneflow.seeding import seed_everything
from tuneflow.trainable.messages import Suggested
from tuneflow.trainable.session import Session

__all__ = ["SessionStudy", "SessionTrial"]

_STUDY_METHODS = ("get_trials", "set_user_attr", "stop")
_STUDY_ATTRIBUTES = (
    "best_params",
    "best_trial",
    "best_trials",
    "best_value",
    "direction",
    "directions",
    "metric_names",
    "study_name",
    "trials",
    "user_attrs",
)


class SessionStudy:
    """Stands for the driver's study where a trial runs. What it offers is what crosses a process boundary.

    Methods: ``stop``, ``set_user_attr``, ``get_trials``. Attributes: ``trials``, ``best_value``, ``best_params``,
    ``best_trial``, ``best_trials``, ``study_name``, ``direction``, ``directions``, ``metric_names``, ``user_attrs``.
    Each is asked of the driver anew.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        if name in _STUDY_METHODS:
            return lambda *arguments, **keywords: self._call("ask_study", name, *arguments, **keywords)
        if name in _STUDY_ATTRIBUTES:
            return self._call("ask_study", name)
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(
            f"trial.study.{name} is not available where trials run: the study lives in the driver's process. From here "
            f"it has {', '.join((*_STUDY_METHODS, *_STUDY_ATTRIBUTES))}. Pass what else the objective needs as an "
            f"argument, or read it after study.optimize"
        )


class SessionTrial:
    """Stands for the driver's trial. ``report`` and ``should_prune`` mean what they mean in Optuna.

    Attributes:
        number: the trial's number.
        last_step: the last step reported here; None before the first.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._params: dict[str, Any] = dict(session.assignment.params)
        self._attrs: dict[str, Any] = dict(session.assignment.user_attrs)
        self.number = session.assignment.trial
        self.last_step: int | None = None

    # What to try

    @property
    def config(self) -> dict[str, Any]:
        """The nested configuration, and what was suggested on top of it."""
        return self._session.assignment.config

    @property
    def params(self) -> dict[str, Any]:
        """The flat Optuna parameters known so far."""
        return dict(self._params)

    @property
    def trial_id(self) -> str:
        """The number in five digits."""
        return f"{self.number:05d}"

    @property
    def seed(self) -> int:
        """A seed of the trial's own, in [0, 2**32)."""
        return self._session.assignment.seed

    @property
    def last_value(self) -> float | None:
        """The objective at the last step reported, here or before a resume; None before the first."""
        return self._session.assignment.last_value

    def seed_everything(self) -> int:
        """Seeds Python's, NumPy's and torch's generators with the trial's own seed, and returns it."""
        return seed_everything(self.seed)

    @property
    def metric(self) -> str:
        """The name of the (first) objective; "value" where it has none."""
        return self._session.assignment.metric

    @property
    def start_step(self) -> int:
        """The step of ``checkpoint``; 0 without one."""
        return self._session.assignment.start_step

    @property
    def checkpoint(self) -> Any:
        """What to resume from; None for a fresh start."""
        return self._session.checkpoint

    @property
    def dir(self) -> str:
        """The trial's folder."""
        return self._session.info.dir

    @property
    def device(self) -> str:
        """Where to compute: "cpu" or "cuda:0"."""
        return self._session.assignment.device

    @property
    def resources(self) -> dict[str, float]:
        """``{"cpu": 1.0, "gpu": 0.0}``."""
        return self._session.info.resources

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Optuna's ``suggest_float``."""
        return float(self._suggest("suggest_float", name, (low, high), {"step": step, "log": log}))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Optuna's ``suggest_int``."""
        return int(self._suggest("suggest_int", name, (low, high), {"step": step, "log": log}))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Optuna's ``suggest_categorical``."""
        return self._suggest("suggest_categorical", name, (list(choices),), {})

    def _suggest(self, method: str, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        assignment = self._session.assignment
        value = self._session.channel.ask(
            Suggested(assignment.trial, assignment.attempt, method, (name, *arguments), keywords)
        )
        self._params[name] = value
        if name not in assignment.config and "/" not in name:
            assignment.config[name] = value
        return value

    # How it goes

    def report(self, metrics: Mapping[str, Any] | Any, step: int | None = None, checkpoint: Any = None) -> Decision:
        """Reports a value; see ``tuneflow.Trial.report``. An exploit starts the objective again from the top."""
        decision = self._session.report(metrics, checkpoint, step=step)
        self.last_step = step
        if isinstance(decision, Exploit):
            raise self._session.interrupt(decision)
        return decision

    def should_prune(self) -> bool:
        """Whether the last decision was ``Pause``, or a ``Stop`` before the full budget."""
        decision = self._session.decision
        return isinstance(decision, Pause) or (isinstance(decision, Stop) and not decision.complete)

    @property
    def decision(self) -> Decision:
        """The answer to the last report."""
        return self._session.decision

    # Attributes

    def set_user_attr(self, key: str, value: Any) -> None:
        """Stores a JSON value with the trial."""
        self._attrs[key] = value
        self._call("set_user_attr", key, value)

    def set_constraint(self, name: str, value: float) -> None:
        """Stores a constraint's value; it holds where the value is <= 0."""
        self._call("set_constraint", name, value)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Attributes stored with the trial."""
        return dict(self._attrs)

    @property
    def distributions(self) -> Any:
        """Distributions of the parameters suggested so far, from the driver."""
        return self._call("distributions")

    @property
    def system_attrs(self) -> Any:
        """Attributes stored by samplers, from the driver."""
        return self._call("system_attrs")

    @property
    def datetime_start(self) -> Any:
        """When the trial was created, from the driver."""
        return self._call("datetime_start")

    @property
    def relative_params(self) -> Any:
        """What the sampler proposed for parameters together, from the driver."""
        return self._call("relative_params")

    @property
    def study(self) -> SessionStudy:
        """The study as far as it can be reached from here: ``trial.study.stop()``, ``trial.study.best_value``, ..."""
        return SessionStudy(self._call)

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        assignment = self._session.assignment
        return self._session.channel.ask(Suggested(assignment.trial, assignment.attempt, method, arguments, keywords))

    def __repr__(self) -> str:
        return f"Trial(number={self.number}, params={self._params})"
