"""The training loop's frame: where to begin, what to report, when to save, when to end."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from tuneflow.errors import CheckpointUnreadable, InvalidArgument, InvalidArgumentType, TuneflowWarning, UsageError
from tuneflow.pruners.base import CONTINUE, Decision, Exploit
from tuneflow_integrations.ranks import Reporter
from tuneflow_integrations.torch.checkpoint import TorchCheckpoint
from tuneflow_integrations.torch.generators import reseed, set_generator_states
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.trials import Target, flat

__all__ = ["Epoch", "State", "epochs", "frame"]


class Epoch(int):
    """The number of an epoch, from 1, which is also the step that is reported.

    Attributes:
        metrics: what was given to ``report``; None before.
    """

    metrics: dict[str, Any] | None = None

    def report(self, metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Says how the epoch went: ``epoch.report(loss=loss)``. Sent when the loop's body has ended.

        So it does not matter whether a scheduler steps before or after it: the checkpoint has all that the body did.

        Raises:
            UsageError: said twice.
            InvalidArgumentType: ``metrics`` is no dict.
        """
        if self.metrics is not None:
            raise UsageError(f"epoch {self:d} was reported twice; report all metrics in one call")
        if metrics is not None and not isinstance(metrics, Mapping):
            raise InvalidArgumentType(
                f"epoch.report({metrics!r}) needs a dict of metrics or names, for instance epoch.report(loss=...)"
            )
        given = {**(metrics or {}), **named}
        if not given:
            raise InvalidArgument("epoch.report() needs at least one metric: epoch.report(loss=loss)")
        self.metrics = {name: _number(value) for name, value in given.items()}


def _number(value: Any) -> Any:
    """A tensor's own number: whoever keeps the metrics must not keep the graph behind a loss."""
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


class State(Protocol):
    """What can be saved and taken up again."""

    def save(self, folder: Any, notes: dict[str, Any]) -> None:
        """Writes the state and the notes into a folder."""
        ...

    def load(self, source: Any, is_own: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], bool]:
        """Takes the state up, the generators' too where ``is_own(notes)``.

        Returns the notes, and whether an earlier checkpoint had to do.
        """
        ...

    def apply(self, live: Live, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Takes over values that have changed."""
        ...


class _Objects:
    """The state of named objects in one ``TorchCheckpoint``."""

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self._checkpoint = TorchCheckpoint(**objects)
        given = list(self._checkpoint.objects.values())
        self._optimizers = [entry for entry in given if isinstance(entry, torch.optim.Optimizer)]
        self._schedulers = [
            entry for entry in given if not isinstance(entry, torch.optim.Optimizer) and hasattr(entry, "optimizer")
        ]

    def save(self, folder: Any, notes: dict[str, Any]) -> None:
        self._checkpoint.save(folder, **notes)

    def load(self, source: Any, is_own: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], bool]:
        notes = self._checkpoint.load(source, generators=False)
        if is_own(notes) and self._checkpoint.loaded_generators is not None:
            set_generator_states(self._checkpoint.loaded_generators)
        return notes, self._checkpoint.fell_back

    def apply(self, live: Live, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        live.apply(old, new, self._optimizers, self._schedulers)


def epochs(
    trial: Any,
    n: int,
    *,
    live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",),
    checkpoint: bool = True,
    **objects: Any,
) -> Iterator[Epoch]:
    """The epochs that are left to a trial: restores, reports, saves where it is needed, and ends when told to.

    ::

        for epoch in epochs(trial, 20, model=model, optimizer=optimizer, scheduler=scheduler):
            train(model, optimizer)
            scheduler.step()
            epoch.report(loss=validate(model))

    A trial that was paused goes on with weights, optimizer, schedule and random numbers exactly as if it had never
    been. A trial that takes over another one's state does so with its own configuration, see ``live``, and with random
    numbers of its own. The loop ends early where the trial is stopped or paused; what the function then returns does
    not matter. With a plain Optuna trial it ends by ``optuna.TrialPruned``.

    In a loop of your own (``study.ask``), an exploit is taken over in place where only ``live`` entries differ. Else
    the loop ends with ``trial.decision`` an ``Exploit``: build everything anew from ``trial.config`` and call
    ``epochs`` again, which goes on from there.

    Args:
        trial: a trial of tuneflow's or of Optuna's; None for the one that runs here.
        n: epochs in all: those before a resume count, and those of another trial whose weights are taken over.
        live: entries of the configuration that a restored optimizer takes over; see ``Live``.
        checkpoint: False never saves: a paused trial then starts over.
        objects: whatever has a ``state_dict``, by name; lists of such; None is left out.

    Yields:
        The number of the epoch, from 1, with a method ``report``.

    Raises:
        UsageError: an epoch ended without ``epoch.report``.
        InvalidArgumentType: an object has no ``state_dict``.
    """
    return frame(Target(trial, "epochs"), n, _Objects(objects) if checkpoint else None, live)


def frame(target: Reporter, n: int, state: State | None, live: Any) -> Iterator[Epoch]:
    """``epochs`` over any kind of state, for a trial of one process or of several."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidArgument(f"n={n!r} must be an integer >= 1: the epochs in all")
    loop = _Loop(target, n, state, Live(live))
    loop.restore(loop.target.checkpoint)
    return loop.run()


class _Loop:
    def __init__(self, target: Reporter, n: int, state: State | None, live: Live) -> None:
        self.target = target
        self._n = n
        self._state = state
        self._live = live
        self._step = 0
        self._ahead = 0
        self._known = target.start_step

    def restore(self, source: Any) -> None:
        """Goes on from a checkpoint; from nothing, at step 0."""
        state, target = self._state, self.target
        if source is None or state is None:
            return
        self._known = target.start_step
        try:
            notes, fell_back = state.load(source, self._is_own)
        except CheckpointUnreadable as error:
            warnings.warn(TuneflowWarning(f"trial {target.number} starts over at epoch 1: {error}"), stacklevel=4)
            return
        # Another trial's checkpoint counts as ours of the step that we are at.
        self._step = int(notes["step"]) if fell_back else target.start_step
        # The weights may have been trained for longer than the trial has: then their schedules end earlier, too.
        self._ahead = int(notes["epochs"]) - self._step
        if not self._is_own(notes):
            reseed(target.seed, self._step)
        state.apply(self._live, notes["config"], target.config)

    def _is_own(self, notes: Mapping[str, Any]) -> bool:
        return bool(notes["trial"] == self.target.number)

    def run(self) -> Iterator[Epoch]:
        caller = id(sys._getframe(1))
        while max(self._step, self._step + self._ahead) < self._n:
            self._step += 1
            epoch = Epoch(self._step)
            try:
                yield epoch
            except GeneratorExit:
                # Left by break, return or an error: what was reported counts. Unless the loop is cleared away later,
                # from elsewhere, when the trial may have ended.
                if epoch.metrics is not None and id(sys._getframe(1)) == caller:
                    self._report(epoch)
                raise
            caller = id(sys._getframe(1))
            if epoch.metrics is None:
                raise UsageError(f"epoch {epoch:d} ended without a report; call epoch.report(loss=loss) in the loop")
            decision = self._report(epoch)
            if decision.should_stop or self.target.interrupt is not None:
                self.target.unwind()
                return
            if isinstance(decision, Exploit) and not self._take_over(decision):
                return

    def _report(self, epoch: Epoch) -> Decision:
        if epoch <= self._known:
            return CONTINUE  # done again after a checkpoint that was cut off: recorded already
        self._config = dict(flat(self.target.config))
        return self.target.report(epoch.metrics or {}, int(epoch), None if self._state is None else self._save)

    def _save(self, folder: Any) -> None:
        if self._state is not None:
            epochs_done = self._step + self._ahead
            notes = {"step": self._step, "epochs": epochs_done, "trial": self.target.number, "config": self._config}
            self._state.save(folder, notes)

    def _take_over(self, decision: Exploit) -> bool:
        """Goes on in place from another trial's state; False where the configuration asks for a new start."""
        if not self._live.is_enough(self._config, decision.config):
            return False
        self.restore(decision.checkpoint)
        return True
