"""One trial as its caller sees it: what to try, how far it got, what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuneflow.errors import UsageError
from tuneflow.pruners.base import Decision, Exploit, Pause, Stop
from tuneflow.seeding import seed_everything

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

__all__ = ["Owner", "Trial", "should_prune"]


class Named(Protocol):
    """What a trial needs of its study's objectives."""

    @property
    def name(self) -> str: ...


class Owner(Protocol):
    """What a trial needs of its study."""

    @property
    def objectives(self) -> Named: ...

    def report_for(
        self, trial: Trial, metrics: Mapping[str, Any] | Any, step: int | None, checkpoint: Any
    ) -> Decision: ...

    def config_of(self, trial: Trial) -> dict[str, Any]: ...

    def folder_of(self, trial: Trial) -> Path: ...

    def seed_of(self, trial: Trial) -> int: ...

    def handle_of(self, trial: Trial) -> optuna.Trial: ...

    def prepare_draw(self, trial: Trial, handle: optuna.Trial, name: str) -> None: ...


def should_prune(decision: Decision | None) -> bool:
    """Optuna's question, answered from a decision: a pause, or a stop before the full budget."""
    return isinstance(decision, Pause) or (isinstance(decision, Stop) and not decision.complete)


class Trial:
    """A trial that ``Study.ask`` handed out. Optuna's ``Trial`` methods work on it unchanged.

    Attributes:
        number: the trial's number in the study, from 0.
        storage_id: the trial's id in Optuna's storage.
        start_step: the step of ``checkpoint``; 0 without one.
        last_step: the last step recorded; None before the first report.
        last_value: the metric at ``last_step``.
        last_result: the whole last report, for listeners; None before the first.
        decision: the answer to the last report; None before the first.
        schedule: every ``(step, config, donor)`` so far; longer than one entry after an exploit.
        attempt: how many times the trial was started, from 1; a retry or a resume after a crash counts one.
        error: the exception that ended the trial or its last attempt; None where there is none.
        device: "cpu", "cuda:0", ...; where a runner put the trial.
        owed: the answer to its last report, where the checkpoint that this asked for did not outlive the driver: the
            trial repeats the step and gets the answer again. Else None.
        resources: what a runner gave it, ``{"cpu": 1.0}`` for instance.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, seed=1)
        >>> trial = study.ask()
        >>> trial.config == {"x": trial.params["x"]}
        True
        >>> trial.report(0.5, step=1)
        Continue(save=False)
        >>> study.tell(trial, 0.5).state.name
        'COMPLETE'
    """

    __slots__ = (
        "_checkpoint",
        "_config",
        "_config_is_own",
        "_handle",
        "_owner",
        "_reached",
        "_restart_from",
        "attempt",
        "decision",
        "device",
        "error",
        "given",
        "last_result",
        "last_step",
        "last_value",
        "n_reports",
        "number",
        "owed",
        "resources",
        "schedule",
        "start_step",
        "state",
        "storage_id",
        "time_total_s",
    )

    def __init__(
        self,
        owner: Owner,
        storage_id: int,
        number: int,
        state: TrialState,
        *,
        handle: optuna.Trial | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self._owner = owner
        self._handle = handle
        self.storage_id = storage_id
        self.number = number
        self.state = state
        self._config = config
        self._config_is_own = False
        self._checkpoint: Any = None
        self._restart_from: int | None = None
        self._reached = 0
        self.start_step = 0
        self.last_step: int | None = None
        self.last_value: float | None = None
        self.last_result: dict[str, Any] | None = None
        self.decision: Decision | None = None
        self.owed: Decision | None = None
        self.schedule: list[tuple[int, dict[str, Any], int | None]] = []
        self.given: frozenset[str] = frozenset()
        self.attempt = 1
        self.n_reports = 0
        self.time_total_s = 0.0
        self.error: BaseException | None = None
        self.device = "cpu"
        self.resources: dict[str, float] = {}

    # What to try

    @property
    def config(self) -> dict[str, Any]:
        """The nested configuration of natural values; after an exploit the new one."""
        if self._config is None:
            self._config = self._owner.config_of(self)
        return self._config

    @property
    def params(self) -> dict[str, Any]:
        """The flat Optuna parameters, ``{"optimizer/lr": 0.1}``."""
        return self._optuna.params

    @property
    def relative_params(self) -> dict[str, Any]:
        """What the sampler proposed for parameters together, before they were asked for, as in Optuna."""
        return self._optuna.relative_params

    @property
    def trial_id(self) -> str:
        """The number in five digits, as it names folders and table rows."""
        return f"{self.number:05d}"

    @property
    def seed(self) -> int:
        """A seed of the trial's own, derived from the study's seed and the number, in [0, 2**32)."""
        return self._owner.seed_of(self)

    def seed_everything(self) -> int:
        """Seeds Python's, NumPy's and torch's generators with the trial's own seed, and returns it."""
        return seed_everything(self.seed)

    @property
    def metric(self) -> str:
        """The name of the (first) objective; "value" where it has none."""
        return self._owner.objectives.name

    @property
    def checkpoint(self) -> Any:
        """What to resume from: None, a ``Checkpoint``, or a copy of the object that was reported."""
        return self._checkpoint

    @property
    def dir(self) -> Path:
        """A folder of the trial's own, made when first asked for; temporary for a study in memory."""
        return self._owner.folder_of(self)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Optuna's ``suggest_float``: both ends included."""
        exploited = self._exploited(name)
        if exploited is not None:
            return float(exploited)
        value = self._drawing(name).suggest_float(name, low, high, step=step, log=log)
        self._forget_config()
        return value

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Optuna's ``suggest_int``: both ends included."""
        exploited = self._exploited(name)
        if exploited is not None:
            return int(exploited)
        value = self._drawing(name).suggest_int(name, low, high, step=step, log=log)
        self._forget_config()
        return value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Optuna's ``suggest_categorical``."""
        exploited = self._exploited(name)
        if exploited is not None:
            return exploited
        value = self._drawing(name).suggest_categorical(name, choices)
        self._forget_config()
        return value

    # How it goes

    def report(self, metrics: Mapping[str, Any] | Any, step: int | None = None, checkpoint: Any = None) -> Decision:
        """Tells the study how far the trial is, and asks what becomes of it.

        Args:
            metrics: the metric as a number (Python, NumPy or torch scalar), or a dict that holds it.
            step: steps done, >= 0; the step after the last one where it is left out.
            checkpoint: a ``Checkpoint``, a path, any object (copied), or a function ``save(folder)`` that is
                called only when the checkpoint will be needed.

        Returns:
            ``Continue``, ``Stop``, ``Pause`` or ``Exploit``. After ``Pause`` drop the trial and ask again;
            after ``Exploit`` load ``decision.checkpoint`` and go on with ``decision.config``.

        Raises:
            MetricMissing: a dict without the study's metric.
            UsageError: the trial has ended or is paused.
        """
        return self._owner.report_for(self, metrics, step, checkpoint)

    def should_prune(self) -> bool:
        """Whether the last decision was ``Pause``, or a ``Stop`` before the full budget."""
        return should_prune(self.decision)

    @property
    def is_paused(self) -> bool:
        """Whether the trial waits to be handed out again."""
        return isinstance(self.decision, Pause)

    # What Optuna keeps with it

    def set_user_attr(self, key: str, value: Any) -> None:
        """Stores a JSON value with the trial."""
        self._optuna.set_user_attr(key, value)

    def set_constraint(self, name: str, value: float) -> None:
        """Stores a constraint's value; it holds where the value is <= 0."""
        self._optuna.set_constraint(name, value)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Attributes stored with the trial."""
        return self._optuna.user_attrs

    @property
    def system_attrs(self) -> dict[str, Any]:
        """Attributes stored by samplers."""
        return self._optuna.storage.get_trial(self._optuna._trial_id).system_attrs

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Distributions of the parameters suggested so far."""
        return self._optuna.distributions

    @property
    def datetime_start(self) -> Any:
        """When the trial was created."""
        return self._optuna.datetime_start

    @property
    def study(self) -> Any:
        """The study that handed the trial out."""
        return self._owner

    def ask_study(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """An attribute of the study, or what its method returns, for an objective that runs elsewhere."""
        found = getattr(self.study, name)
        return found(*arguments, **keywords) if callable(found) else found

    def __repr__(self) -> str:
        return f"Trial(number={self.number}, state={self.state.name}, params={self.params})"

    def __getstate__(self) -> Any:
        raise UsageError(
            "a Trial cannot be sent to another process: its study lives in this one. Use study.optimize(..., "
            "n_jobs=2), which sends the trial's configuration and takes its reports"
        )

    # For the study

    @property
    def _optuna(self) -> optuna.Trial:
        """Optuna's own trial, made when first needed: it holds a copy of all that is stored."""
        if self._handle is None:
            self._handle = self._owner.handle_of(self)
        return self._handle

    def _drawing(self, name: str) -> optuna.Trial:
        self._owner.prepare_draw(self, self._optuna, name)
        return self._optuna

    @property
    def frozen(self) -> FrozenTrial:
        """What Optuna's trial knows of itself: everything that was written through it."""
        return self._optuna._cached_frozen_trial

    def enter(self, *, step: int, checkpoint: Any, restart_from: int | None) -> None:
        """The trial is handed out again: from ``checkpoint`` at ``step``, or from zero past recorded steps."""
        self.start_step = step
        self._checkpoint = checkpoint
        self._restart_from = restart_from
        self._reached = step
        self.decision = None

    def catch_up(self) -> None:
        """Another trial's state takes the place of its own: no recorded step is done again."""
        self._restart_from = None

    @property
    def is_behind(self) -> bool:
        """Whether the trial had to start before its last recorded step."""
        return self._restart_from is not None

    def replays(self, step: int) -> bool:
        """Whether ``step`` was recorded before the trial had to start over. It has reached it then."""
        if self._restart_from is None or step > self._restart_from:
            return False
        self._reached = step
        return True

    @property
    def next_step(self) -> int:
        """The step of a report that names none: the one after the last, which after a restart may be recorded."""
        if self.last_step is None:
            return self.start_step + 1
        return (self._reached if self.last_step == self._restart_from else self.last_step) + 1

    def change_config(self, decision: Exploit, step: int) -> None:
        """Takes over an exploit's configuration."""
        if not self.schedule:
            self.schedule.append((0, self.config, None))
        self._config, self._config_is_own = decision.config, True
        self._checkpoint = decision.checkpoint
        self.start_step = step
        self.schedule.append((step, decision.config, decision.donor))

    @property
    def has_own_config(self) -> bool:
        """Whether the configuration is no longer the one that was sampled."""
        return self._config_is_own

    def _forget_config(self) -> None:
        if not self._config_is_own:
            self._config = None

    def _exploited(self, name: str) -> Any:
        if not self._config_is_own or self._config is None:
            return None
        node: Any = self._config
        if name in node:
            return node[name]
        for part in name.split("/"):
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return node


def __getattr__(name: str) -> object:
    """Optuna's names that its users look for here: ``tuneflow.trial.TrialState``."""
    if name in ("TrialState", "FrozenTrial", "FixedTrial", "create_trial"):
        import optuna.trial

        return getattr(optuna.trial, name)
    raise AttributeError(f"module 'tuneflow.trial' has no attribute {name!r}")
