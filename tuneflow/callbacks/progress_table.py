"""Progress on the terminal or in a log, as ``tune.run`` and ``study.optimize`` show it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from tuneflow.callbacks.flattening import flatten
from tuneflow.callbacks.live_view import LiveView
from tuneflow.callbacks.progress import Progress, ProgressReporter, RunInfo
from tuneflow.callbacks.status_block import status_block
from tuneflow.callbacks.wording import config_text, duration_text, value_text
from tuneflow.errors import InvalidArgument
from tuneflow.moved import refusing
from tuneflow.plain import plain

if TYPE_CHECKING:
    from tuneflow.clock import Clock
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["ProgressTable"]

_LIVE_S, _PLAIN_S = 0.25, 5.0
_WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@refusing("ProgressTable")
class ProgressTable(ProgressReporter):
    """Shows how far a run is: a table that keeps itself up to date on a terminal, plain lines anywhere else.

    Args:
        metric: the objective's name; None for none or several.
        mode: "min" or "max"; without it no best trial is shown.
        n_trials: how many trials are wanted; None for no limit.
        folder: where results go.
        scheduler: the pruner, for its name; None is called FIFO, as in Tune.
        n_slots: how many trials run at a time at most.
        resources: of each trial: an object with ``cpu`` and ``gpu``, or a dict.
        total: the machine's, likewise.
        timeout_s: time limit of the run.
        name: what is run; rows are called ``name_00000``.
        counts_earlier: trials that the study held before the run count too, as in a resumed experiment.
        verbose: 0 is silent; 1 shows the state of the run: on a terminal without the table, elsewhere a line per ended
            trial and a summary; 2 adds the table, elsewhere Tune's ``== Status ==`` block; 3 adds every result.
        stream: where to write; standard output without it, found when the run starts.
        clock: where times come from.

    Raises:
        InvalidArgument: ``verbose`` is not 0, 1, 2 or 3.

    Example:
        >>> import tuneflow as tune, io
        >>> study = tune.create_study({"x": tune.grid_search([1, 2])}, mode="min", seed=0)
        >>> stream = io.StringIO()
        >>> table = ProgressTable("value", "min", n_trials=2, verbose=1, stream=stream)
        >>> study.optimize(lambda trial: 0.5, n_trials=2, callbacks=[table])
        >>> stream.getvalue().splitlines()[0].startswith("Trial 00000 complete: value=0.5")
        True
    """

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        *,
        n_trials: int | None = None,
        folder: Any = None,
        scheduler: Any = None,
        n_slots: int | None = None,
        resources: Any = None,
        total: Any = None,
        timeout_s: float | None = None,
        name: str = "trial",
        counts_earlier: bool = False,
        verbose: int = 2,
        stream: TextIO | None = None,
        clock: Clock | None = None,
    ) -> None:
        if verbose not in (0, 1, 2, 3):
            raise InvalidArgument(f"verbose={verbose!r} must be 0 (silent), 1 (status), 2 (table) or 3 (every result)")
        super().__init__(interval_s=_PLAIN_S, clock=clock)
        self.run = RunInfo(
            metric=metric,
            mode=mode,
            n_trials=n_trials,
            folder=folder,
            scheduler=scheduler,
            n_slots=n_slots,
            resources=resources,
            total=total,
            timeout_s=timeout_s,
            name=name,
            counts_earlier=counts_earlier,
        )
        self._verbose = int(verbose)
        self._stream = stream
        self._view: LiveView | None = None

    # Events

    def on_study_start(self, study: Study) -> None:
        if self._verbose:
            stream = self._stream or sys.stdout
            if _is_terminal(stream):
                self._interval_s = _LIVE_S
                self._view = LiveView(stream, has_table=self._verbose >= 2)
        super().on_study_start(study)

    def on_study_end(self, study: Study) -> None:
        try:
            super().on_study_end(study)
        finally:
            if self._view is not None:
                self._view.stop()
                self._view = None
                self._interval_s = _PLAIN_S

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        super().on_trial_report(trial, result)
        if self._verbose >= 3:
            self._write(_result_text(f"{self.run.name}_{trial.trial_id}", result))

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        super().on_trial_error(trial, error)
        if self._verbose:
            reason = value_text(str(error) or repr(error), max_chars=300)
            self._write(f"Trial {trial.trial_id}, attempt {trial.attempt}: {reason}\n")

    def on_trial_end(self, trial: Trial) -> None:
        super().on_trial_end(trial)
        if self._verbose and (self._view is None or self._verbose >= 3):
            self._write(self._ended_text())

    # Showing

    def report(self, progress: Progress) -> None:
        if not self._verbose:
            return
        if self._view is not None:
            self._view.update(progress)
        elif self._verbose >= 2 and progress.n_trials:
            self._write(status_block(progress))
        elif progress.is_done and progress.n_trials:
            self._write(_closing_text(progress))

    def _ended_text(self) -> str:
        """The line on the trial that ended last."""
        row = self._recent[-1]
        text = f"Trial {row.trial_id} {_WORDS.get(row.state, row.state)}"
        if row.value is not None:
            text += f": {self.run.metric or 'value'}={value_text(row.value)}"
        if row.iteration is not None:
            text += f" after {row.iteration} iteration(s)"
        config = config_text(row.config, constants=self.run.constants)
        text += f", {duration_text(row.time_s or 0.0)}{f'; {config}' if config else ''}"
        best = self._best()
        if best is not None and best.number == row.number:
            text += " (best so far)"
        return f"{text}\n"

    def _write(self, text: str) -> None:
        """Writes to the stream; one that is gone (a closed pipe, a test's capture) is not written to any more."""
        if self._view is not None:
            self._view.write(text)
            return
        stream = self._stream or sys.stdout
        if stream is None:  # a program without a console
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "backslashreplace").decode())
            stream.flush()
        except (OSError, ValueError):
            self._verbose = 0


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(AttributeError, ValueError):
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    return False


def _result_text(name: str, result: Mapping[str, Any]) -> str:
    """Tune's ``Result for NAME:`` with a line per entry, sorted."""
    flat = flatten(plain(result))
    lines = [f"  {key}: {value_text(value, max_chars=200)}" for key, value in sorted(flat.items())]
    return "\n".join([f"Result for {name}:", *lines]) + "\n"


def _closing_text(progress: Progress) -> str:
    """One or two lines at the end of a run."""
    ended = [f"{count} {_WORDS.get(state, state)}" for state, count in sorted(progress.ended.items())]
    text = f"{progress.n_trials} trial(s) in {duration_text(progress.elapsed_s)}: {', '.join(ended) or 'none ended'}."
    if progress.best is not None:
        best = progress.best
        config = config_text(best.config, constants=progress.run.constants)
        text += (
            f" Best: trial {best.trial_id} with {progress.run.metric or 'value'}={value_text(best.value)}"
            f"{config and '; '}{config}."
        )
    if progress.run.folder is not None:
        text += f" Results: {progress.run.folder}"
    return f"{text}\n"
