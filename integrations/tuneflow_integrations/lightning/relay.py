"""A trial that trains in processes of its own: their first rank talks to the trial through the one that started them.

``ddp_spawn`` and ``ddp_fork`` run the training in child processes, where the trial does not exist. A thread beside the
waiting ``trainer.fit`` takes the reports of rank 0 and hands the decisions back. Messages from the child are
``("report", metrics, step, can_save)`` and ``("saved", error)``; to it ``("save", folder)``, ``("decision", decision)``
and ``("error", error)``. ``("end",)`` is the parent's own word to the thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from tuneflow.errors import TrialError
from tuneflow.pruners.base import CONTINUE, Decision
from tuneflow_integrations.trials import Target, flat

__all__ = ["Relay", "RemoteTarget"]


class RemoteTarget:
    """What rank 0 has in place of the trial.

    Attributes:
        number: the trial's number.
        seed: its seed.
        config: its flat configuration.
        start_step: the step of its checkpoint.
        interrupt: None: it is the starting process that has to be unwound.
    """

    interrupt: BaseException | None = None
    can_continue = False
    checkpoint: Any = None

    def __init__(self, target: Target, connection: Connection) -> None:
        self.number = target.number
        self.seed = target.seed
        self.config: Mapping[str, Any] = dict(flat(target.config))
        self.start_step = target.start_step
        self._connection = connection

    def unwind(self) -> None:
        """Nothing to leave here."""

    def report(self, metrics: Mapping[str, Any], step: int, save: Callable[[Any], Any] | None = None) -> Decision:
        """Reports, and saves when it is asked to."""
        self._connection.send(("report", dict(metrics), step, save is not None))
        while True:
            kind, content = self._connection.recv()
            if kind == "decision":
                decision: Decision = content
                return decision
            if kind == "error":
                raise content
            try:
                if save is not None:
                    save(content)
            except BaseException as error:
                self._connection.send(("saved", repr(error)))
                raise
            self._connection.send(("saved", ""))


class Relay:
    """Answers rank 0 from a thread of the starting process.

    Args:
        target: the trial.

    Attributes:
        remote: what the child processes get.
        decision: the last answer.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ours, self._theirs = get_context("spawn").Pipe()
        self.remote = RemoteTarget(target, self._theirs)
        self.decision: Decision = CONTINUE
        self._thread = threading.Thread(target=self._serve, daemon=True, name=f"tuneflow-relay-{os.getpid()}")

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._theirs.send(("end",))
        self._thread.join()
        self._ours.close()
        self._theirs.close()

    def _serve(self) -> None:
        while True:
            message = self._ours.recv()
            if message[0] != "report":
                return
            _, metrics, step, can_save = message
            try:
                self.decision = self._target.report(metrics, step, self._save if can_save else None)
            except Exception as error:
                self._ours.send(("error", error))
            else:
                self._ours.send(("decision", self.decision))

    def _save(self, folder: Any) -> None:
        self._ours.send(("save", str(folder)))
        message = self._ours.recv()
        if message[0] != "saved" or message[1]:
            reason = message[1] if message[0] == "saved" else "the training's processes have ended"
            if message[0] != "saved":
                self._theirs.send(message)  # still to be heard by the thread
            raise TrialError(f"the checkpoint was not saved: {reason}", trial=self._target.number)
