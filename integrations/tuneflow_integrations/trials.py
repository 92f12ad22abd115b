"""What every adapter does with a trial, whatever kind it is.

A trial is tuneflow's own (``study.ask()``), the one that runs here (``tune.run``, ``study.optimize``), or a plain
``optuna.Trial``, which knows neither pauses nor checkpoints.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import CheckpointUnreadable, InvalidArgument, InvalidArgumentType, MetricNotLogged, TuneflowWarning
from tuneflow.plain import plain
from tuneflow.pruners.base import CONTINUE, Decision, Exploit, Stop
from tuneflow.trainable.session import TrialInterrupt, current
from tuneflow.trainable.session_trial import SessionTrial

__all__ = ["EachRound", "Metrics", "Target", "decision_ends", "flat", "newest_readable"]

T = TypeVar("T")


class Target:
    """A trial of any of the three kinds, with one way to report.

    Args:
        trial: the trial; None for the one that runs here.
        call: what the user called, for the message.

    Attributes:
        trial: the trial.
        is_plain: whether it is a plain Optuna trial.
        can_continue: whether an exploit is answered in place; else it starts the trainable again.
        interrupt: what has to unwind the trainable once the training has come to its end; None for nothing.
    """

    def __init__(self, trial: Any, call: str) -> None:
        if trial is None:
            trial = SessionTrial(current(f"{call} without trial="))
        self.trial = trial
        self.is_plain = isinstance(trial, optuna.trial.BaseTrial)
        if not self.is_plain and not all(hasattr(trial, name) for name in ("report", "number", "start_step")):
            raise InvalidArgumentType(
                f"trial={trial!r} must be a trial of tuneflow's or of Optuna's, or None for the one that runs here"
            )
        self.can_continue = not isinstance(trial, SessionTrial)
        self.interrupt: BaseException | None = None

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def config(self) -> Mapping[str, Any]:
        """The nested configuration; the flat parameters of a plain Optuna trial."""
        config: Mapping[str, Any] = self.trial.params if self.is_plain else self.trial.config
        return config

    @property
    def start_step(self) -> int:
        return 0 if self.is_plain else int(self.trial.start_step)

    @property
    def checkpoint(self) -> Any:
        return None if self.is_plain else self.trial.checkpoint

    @property
    def seed(self) -> int:
        """The trial's own seed; the number of a plain Optuna trial, which has none."""
        return self.number if self.is_plain else int(self.trial.seed)

    def report(self, metrics: Mapping[str, Any], step: int, save: Callable[[Any], Any] | None = None) -> Decision:
        """Reports, and says what becomes of the trial.

        Args:
            metrics: by name; a plain Optuna trial gets the first.
            step: steps done.
            save: writes a checkpoint into a folder; called only if it is needed.
        """
        if self.is_plain:
            self.trial.report(float(next(iter(metrics.values()))), step)
            if not self.trial.should_prune():
                return CONTINUE
            self.interrupt = optuna.TrialPruned(f"trial {self.number} was pruned at step {step}")
            return Stop()
        if len(metrics) == 1 and self.trial.metric == "value":
            metrics = {**metrics, "value": next(iter(metrics.values()))}
        try:
            decision: Decision = self.trial.report(metrics, step, checkpoint=save)
        except TrialInterrupt as interrupt:
            self.interrupt = interrupt
            return interrupt.decision
        return decision

    def unwind(self) -> None:
        """Leaves the trainable where that is what a decision asks for.

        Raises:
            TrialInterrupt: an exploit starts the trainable again.
            optuna.TrialPruned: a plain Optuna trial was pruned.
        """
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            raise interrupt


class Metrics:
    """Which of a library's metrics are reported, and under which names.

    Args:
        metrics: one name, several, or ``{"loss": "val_loss"}``: the name to report it by and the library's.

    Example:
        >>> Metrics({"loss": "val_loss"}).pick({"val_loss": 0.5, "val_acc": 0.9})
        {'loss': 0.5}
    """

    def __init__(self, metrics: str | Sequence[str] | Mapping[str, str]) -> None:
        if isinstance(metrics, str):
            metrics = [metrics]
        self.names: dict[str, str] = dict(metrics) if isinstance(metrics, Mapping) else {name: name for name in metrics}
        if not self.names or not all(isinstance(name, str) for pair in self.names.items() for name in pair):
            raise InvalidArgument(
                f"metrics={metrics!r} must name at least one metric: 'val_loss', a list, or {{'loss': 'val_loss'}}"
            )

    def pick(self, logged: Mapping[str, Any], hint: str = "") -> dict[str, float]:
        """The metrics to report, as Python numbers.

        Raises:
            MetricNotLogged: one is not there; the message lists those that are.
        """
        for name in self.names.values():
            if name not in logged:
                raise MetricNotLogged(name, [str(key) for key in logged], hint)
        return {ours: float(logged[theirs]) for ours, theirs in self.names.items()}


class EachRound:
    """What callbacks of boosting libraries share: reports after some of the rounds.

    Attributes:
        decision: the answer to the last report.
    """

    def __init__(
        self,
        metrics: str | Sequence[str] | Mapping[str, str],
        *,
        trial: Any = None,
        every: int = 1,
        checkpoint: bool = True,
    ) -> None:
        if isinstance(every, bool) or every < 1:
            raise InvalidArgument(f"every={every!r} must be an integer >= 1")
        self._metrics = Metrics(metrics)
        self._target = Target(trial, "TuneCallback")
        self._every = every
        self._saves = checkpoint
        self.decision: Decision = CONTINUE


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a nested configuration as ``("optimizer/lr", 0.1)``, scalars of NumPy and torch as Python's."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", plain(value)


def newest_readable(source: Any, name: str, read: Callable[[Path], T]) -> tuple[T, Path, bool]:
    """Reads a trial's checkpoint or, where that was cut off, the newest before it that can be read; says so.

    Args:
        source: a ``Checkpoint``, its folder, or the file in it.
        name: the file in the folder.
        read: reads a file; raises where it cannot.

    Returns:
        What was read, the file, and whether it is an earlier one than the one asked for.

    Raises:
        CheckpointUnreadable: neither it nor any before it can be read.
    """
    given = source.path if isinstance(source, Checkpoint) else Path(source)
    first = given / name if given.is_dir() or given.suffix == "" else given
    problem: Exception | None = None
    for file in [first, *_before(first)]:
        try:
            found = read(file)
        except Exception as error:  # a file that was cut off raises whatever the reader stumbles over
            problem = problem or error
            continue
        if file != first:
            warnings.warn(
                TuneflowWarning(f"checkpoint {first} cannot be read ({_brief(problem)}); going on from {file}"),
                stacklevel=3,
            )
        return found, file, file != first
    raise CheckpointUnreadable(
        f"checkpoint {first} cannot be read ({_brief(problem)}), and there is none before it that can; "
        f"delete it to have the trial start over"
    ) from problem


_FOLDER = re.compile(r"checkpoint_(\d+)$")


def _before(file: Path) -> list[Path]:
    """The same file in the trial's checkpoints of earlier steps, the latest first."""
    own = _FOLDER.match(file.parent.name)
    if own is None or not file.parent.parent.is_dir():
        return []
    found = {}
    for folder in file.parent.parent.iterdir():
        match = _FOLDER.match(folder.name)
        if match is not None and int(match[1]) < int(own[1]):
            found[int(match[1])] = folder / file.name
    return [found[step] for step in sorted(found, reverse=True)]


def _brief(error: Exception | None) -> str:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= 200 else f"{text[:200]}..."


def decision_ends(decision: Decision) -> bool:
    """Whether the training that was just reported has to end: a stop, a pause, or an exploit."""
    return decision.should_stop or isinstance(decision, Exploit)
