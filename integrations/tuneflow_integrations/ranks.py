"""One trial, several processes of one training: the first reports, all do what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from tuneflow.errors import UsageError
from tuneflow.pruners.base import Decision
from tuneflow_integrations.trials import flat

__all__ = ["Reporter", "Shared"]


class Reporter(Protocol):
    """What ``Shared`` needs of a trial: ``Target``, or what stands for it in another process."""

    @property
    def number(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def start_step(self) -> int: ...

    @property
    def checkpoint(self) -> Any: ...

    @property
    def can_continue(self) -> bool: ...

    @property
    def interrupt(self) -> BaseException | None: ...

    def report(self, metrics: Mapping[str, Any], step: int, save: Callable[[Any], Any] | None = None) -> Decision: ...

    def unwind(self) -> None: ...


class _Facts(NamedTuple):
    number: int
    seed: int
    config: dict[str, Any]
    start_step: int
    checkpoint: Any


class Shared:
    """A trial as every process of its training sees it.

    Args:
        reporter: the trial; None in all processes but the first.
        broadcast: gives the first process's argument back in all of them; the others give None.

    Attributes:
        number: the trial's number.
        seed: its seed.
        config: its flat configuration, plain values.
        start_step: the step of its checkpoint; 0 without one.
        checkpoint: the checkpoint.
    """

    def __init__(self, reporter: Reporter | None, broadcast: Callable[[Any], Any] = lambda value: value) -> None:
        self._reporter = reporter
        self._broadcast = broadcast
        self._take_facts()

    def _take_facts(self) -> None:
        given, facts = self._reporter, None
        if given is not None:
            facts = _Facts(given.number, given.seed, dict(flat(given.config)), given.start_step, given.checkpoint)
        facts = self._broadcast(facts)
        self.number, self.seed, self.config, self.start_step, self.checkpoint = facts

    @property
    def can_continue(self) -> bool:
        return self._reporter is None or self._reporter.can_continue

    @property
    def interrupt(self) -> BaseException | None:
        """What has to unwind the trainable; known in the first process only."""
        return None if self._reporter is None else self._reporter.interrupt

    def unwind(self) -> None:
        """Leaves the trainable where that is what a decision asks for."""
        if self._reporter is not None:
            self._reporter.unwind()

    def report(
        self,
        metrics: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        step: int,
        save: Callable[[Any], Any] | None = None,
    ) -> Decision:
        """Reports from the first process; the others save when it does and hear what it hears.

        Args:
            metrics: by name, or a function that finds them, called in the first process only.
            step: steps done.
            save: writes a checkpoint into a folder, called in every process.

        Raises:
            UsageError: in the others, where the first could not report.
        """
        if self._reporter is None:
            return self._follow(save)
        try:
            found = metrics() if callable(metrics) else metrics
            decision = self._reporter.report(found, step, None if save is None else self._together(save))
        except BaseException as error:
            self._broadcast(("error", repr(error)))  # the others wait, and must not for ever
            raise
        self._broadcast(("decision", decision))
        self._take_facts()  # an exploit has changed them
        return decision

    def _together(self, save: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def save_everywhere(folder: Any) -> None:
            self._broadcast(("save", str(folder)))
            save(folder)

        return save_everywhere

    def _follow(self, save: Callable[[Any], Any] | None) -> Decision:
        while True:
            kind, content = self._broadcast(None)
            if kind == "save" and save is not None:
                save(content)
            elif kind == "decision":
                self._take_facts()
                decision: Decision = content
                return decision
            else:
                raise UsageError(f"the first process could not report: {content}")
