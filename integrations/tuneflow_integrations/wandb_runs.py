"""The runs of W&B that are open, and what is done with them: all of it on one thread, beside the study."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import TuneflowError
from tuneflow.plain import without_passwords
from tuneflow_integrations.wandb_options import WandbOptions

__all__ = ["STEP", "Runs", "WandbRunNotOpened", "ended", "open_run"]

STEP = "training_iteration"
"""The metric that W&B's charts have on their x axis."""

_logger = logging.getLogger("tuneflow")
_SYNC = "send them with: wandb sync"
_AT_EXIT_S = 60.0
_STATES = frozenset({"complete", "pruned", "failed", "paused", "interrupted"})


def open_run(options: WandbOptions, arguments: Mapping[str, Any], *, is_offline: bool = False) -> Any:
    """Starts a run; offline where it was to go online and cannot.

    Args:
        options: where the arguments come from.
        arguments: of ``wandb.init``.
        is_offline: do not even try the server.
    """
    offline = {**arguments, "mode": "offline"}
    offline.pop("resume", None)
    if is_offline:
        return wandb.init(**offline)
    if options.mode != "online":
        return wandb.init(**arguments)
    settings = arguments["settings"]
    # Asked beforehand: a run that W&B fails to start stays in its service, and its id cannot be used again.
    reason = _unreachable(options.base_url, timeout_s=float(settings.init_timeout))
    if not reason:
        try:
            return wandb.init(**arguments)
        except Exception as error:
            reason = f"{type(error).__name__}: {options.masked(str(error).strip())}".split("\n")[0]
            offline["id"] = f"{offline['id']}-offline"
    _logger.warning(
        "W&B cannot be reached (%s); the runs are kept in %s: %s DIRECTORY/offline-run-*",
        reason,
        Path(str(options.init.get("dir") or os.environ.get("WANDB_DIR") or ".")) / "wandb",
        _SYNC,
    )
    return wandb.init(**offline)


def _unreachable(url: str, *, timeout_s: float) -> str:
    """Why nothing answers at an address; "" where something does, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return ""
    except urllib.error.URLError as error:
        # Another certificate than Python's: W&B's service may know it.
        return "" if isinstance(error.reason, ssl.SSLError) else f"{without_passwords(url)}: {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return f"{without_passwords(url)}: {error}"


def ended(run: Any, state: str, *, exit_code: int, summary: Mapping[str, Any], may_go_on: bool = False) -> None:
    """Ends a run: its summary, a tag that says how the trial ended, the exit code. Waits for the upload.

    Args:
        run: of W&B.
        state: "complete", "pruned", "failed", "paused" or "interrupted": the tag.
        exit_code: 0 for a trial that did what it was to do.
        summary: what the summary is to hold besides the last value of each metric.
        may_go_on: the trial can be resumed: W&B shows the run as preempted.
    """
    run.summary.update({**summary, "state": state})
    run.tags = (*(tag for tag in run.tags or () if tag not in _STATES), state)
    if may_go_on:
        run.mark_preempting()
    run.finish(exit_code=exit_code)


class WandbRunNotOpened(TuneflowError, RuntimeError):
    """W&B refused to open a run, offline too."""


class Runs:
    """Does on the outbox's thread what the logger noted: each item is the name of a method and its arguments.

    Args:
        clock: where waiting times come from.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._open: dict[tuple[str, int], Any] = {}
        self._options: dict[str, WandbOptions] = {}
        self._begun: set[str] = set()
        self._offline: set[str] = set()
        self._finishing: dict[threading.Thread, str] = {}
        self._lost: dict[tuple[str, int], int] = {}

    def know(self, study: str, options: WandbOptions) -> None:
        """Tells how the runs of a study are to be opened; called before the first of them is noted."""
        self._options[study] = options

    def handle(self, item: tuple[Any, ...]) -> None:
        """Does one item: ``(method, (study, trial), *arguments)``."""
        method, key, *arguments = item
        if method == "start":
            self._start(key, *arguments)
            return
        run = self._open.get(key)
        if run is None:
            if method == "upload":
                shutil.rmtree(arguments[0], ignore_errors=True)
            if method in ("row", "upload"):
                self._lost[key] = self._lost.get(key, 0) + 1
            return
        getattr(self, f"_{method}")(key, run, *arguments)

    # What can be noted

    def _start(self, key: tuple[str, int], name: str, config: dict[str, Any]) -> None:
        options = self._options[key[0]]
        # What is installed is the same for all trials, and takes a tenth of a second to find out.
        settings = {"x_save_requirements": key[0] not in self._begun}
        self._begun.add(key[0])
        arguments = options.init_arguments(study=name, number=key[1], token=key[0], config=config, settings=settings)
        try:
            run = open_run(options, {**arguments, "reinit": "create_new"}, is_offline=key[0] in self._offline)
        except Exception as error:
            raise WandbRunNotOpened(
                f"trial {key[1]} has no run: {type(error).__name__}: {options.masked(str(error))}"
            ) from None
        if options.mode == "online" and getattr(run, "offline", False):
            self._offline.add(key[0])  # the next trial need not find out anew
        with contextlib.suppress(wandb.Error):
            run.define_metric("*", step_metric=STEP)
        self._open[key] = run

    def _row(self, key: tuple[str, int], run: Any, row: dict[str, Any]) -> None:
        # Without step=: W&B drops rows whose step is not larger than the one before, which ours may not be.
        run.log(row)

    def _config(self, key: tuple[str, int], run: Any, config: dict[str, Any]) -> None:
        run.config.update(config, allow_val_change=True)

    def _note(self, key: tuple[str, int], run: Any, summary: dict[str, Any]) -> None:
        run.summary.update(summary)

    def _upload(self, key: tuple[str, int], run: Any, folder: str, step: int | None) -> None:
        try:
            artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model", metadata={"step": step})
            artifact.add_dir(folder)
            run.log_artifact(artifact, aliases=["latest", f"step-{step}"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _end(
        self, key: tuple[str, int], run: Any, state: str, exit_code: int, summary: dict[str, Any], may_go_on: bool
    ) -> None:
        del self._open[key]
        if getattr(run, "offline", True) or getattr(run, "disabled", False):
            ended(run, state, exit_code=exit_code, summary=summary, may_go_on=may_go_on)
            return
        # Online, finishing waits for the upload: the rows of the other trials do not wait for it.
        where = str(getattr(run, "dir", ""))
        thread = threading.Thread(
            target=self._finish,
            args=(run, state, exit_code, summary, may_go_on),
            name="tuneflow-wandb-finish",
            daemon=True,
        )
        self._finishing[thread] = where
        thread.start()
        self._finishing = {thread: where for thread, where in self._finishing.items() if thread.is_alive()}

    def _finish(self, run: Any, state: str, exit_code: int, summary: dict[str, Any], may_go_on: bool) -> None:
        try:
            ended(run, state, exit_code=exit_code, summary=summary, may_go_on=may_go_on)
        except Exception as error:
            _logger.warning("W&B: run %s could not be finished (%s); %s %s", run.id, error, _SYNC, run.dir)

    # The end

    def wait_for_uploads(self, *, timeout_s: float) -> None:
        """Waits until runs that were finished are uploaded; says which are not after ``timeout_s`` seconds."""
        until_s = self._clock.monotonic() + timeout_s
        for thread in list(self._finishing):
            thread.join(max(0.0, until_s - self._clock.monotonic()))
        left = [where for thread, where in self._finishing.items() if thread.is_alive()]
        self._finishing.clear()
        if left:
            _logger.warning(
                "W&B has not taken in %d run(s) after %.0f s; if they are not there later, %s %s",
                len(left),
                timeout_s,
                _SYNC,
                " ".join(str(Path(where).parent) for where in left),
            )

    def end_all(self) -> None:
        """The process ends without having closed its study: what is open is left as interrupted."""
        for key, run in list(self._open.items()):
            self._end(key, run, "interrupted", 1, {}, True)
        self.wait_for_uploads(timeout_s=_AT_EXIT_S)

    def take_lost(self) -> dict[int, int]:
        """How many rows had no run to go to, by trial, since this was last asked."""
        lost, self._lost = self._lost, {}
        return {number: n for (_, number), n in lost.items() if n}
