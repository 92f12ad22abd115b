"""Weights & Biases: a run per trial, of the driver (``WandbLogger``) or of the trial's own code (``wandb_mixin``)."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import wandb  # noqa: F401  (missing, it is missed here and not at the first trial)

from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.flattening import flatten
from tuneflow.callbacks.outbox import Outbox
from tuneflow.moved import lacks
from tuneflow.plain import MASK, is_secret, plain, without_passwords
from tuneflow.pruners.base import Exploit
from tuneflow_integrations.wandb_inside import setup_wandb, wandb_mixin
from tuneflow_integrations.wandb_options import WandbOptions
from tuneflow_integrations.wandb_runs import Runs

if TYPE_CHECKING:
    from tuneflow.checkpoint import Checkpoint
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["WandbLogger", "setup_wandb", "wandb_mixin"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


_logger = logging.getLogger("tuneflow")
# What is the same in every row, or says nothing of the training.
_LEFT_OUT = frozenset({"done", "trial_id", "pid", "hostname"})
# W&B's own names in a row; it would overwrite a result of such a name without a word.
_TAKEN = frozenset({"_step", "_runtime", "_timestamp", "_wandb"})
_SCALARS = frozenset({float, int, str, bool, type(None)})
_PATIENCE_S = 120.0
_UPLOAD_S = 600.0
_ENDINGS = {"COMPLETE": ("complete", 0), "PRUNED": ("pruned", 0), "FAIL": ("failed", 1)}
# The ids that the loggers of a study give its runs, with each logger's place: W&B holds one run of an id at a time.
_places: WeakKeyDictionary[Any, set[tuple[str, int]]] = WeakKeyDictionary()


class _Known:
    """What the logger keeps of a trial whose run is open.

    Attributes:
        config: the configuration that W&B holds.
        flat: the same as cells of a row.
        n_exploits: exploits so far.
    """

    __slots__ = ("config", "flat", "n_exploits")

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.flat: dict[str, Any] | None = None
        self.n_exploits = 0


class WandbLogger(Callback):
    """Keeps a run of W&B for each trial: its configuration, every report, how it ended.

    The driver holds the runs, so a run stays open while its trial is paused or tried again, and nothing is lost when a
    worker is killed. The group is the study. A run ends with a tag and ``summary["state"]``, "complete", "pruned" or
    "failed", and exit code 1 where it failed; a trial that was paused or interrupted when the study ended, and can go
    on, has that as its tag, and W&B shows its run as preempted.

    Everything that talks to W&B does so on a thread of its own, behind an ``Outbox``: no trial ever waits for it. A
    server that cannot be reached costs a warning, and the runs are kept in offline files for ``wandb sync``.

    Several loggers may hear one study. From the second on, the ids of a logger's runs hold its place among them, by the
    order in which they were given, which must be the same when the study is resumed.

    All options may also stand in ``config["wandb"]`` of ``tune.run``, or in the space of ``create_study``; those
    outrank the ones given here. They are no hyperparameters, and the API key is written nowhere.

    Args:
        project: W&B's project; ``WANDB_PROJECT`` does as well.
        api_key_file: file that holds the API key and nothing else.
        api_key: the key itself. Without either, W&B finds it as it always does (``WANDB_API_KEY``, ``wandb login``).
        excludes: results that are not logged; "val" stands for "val/loss" too.
        log_config: whether each row holds the configuration in force as ``config/lr``, ...: shows how population based
            training changes it.
        upload_checkpoints: whether checkpoints (folders) become artifacts.
        init: any argument of ``wandb.init``: ``entity``, ``mode``, ``tags``, ``dir``, ``notes``, ``settings``, ... For
            ``group``, ``id`` and ``name`` there are good defaults; "{trial_id}" in the latter two stands for the trial.

    Raises:
        InvalidArgument: a name that W&B does not know, both key options, a key file that cannot be read, a value that
            W&B refuses.

    Example:
        >>> import tuneflow as tune
        >>> logger = WandbLogger("my-project", mode="disabled")
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, mode="min", seed=0)
        >>> study.optimize(lambda trial: trial.config["x"] ** 2, n_trials=2, callbacks=[logger])
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        api_key_file: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        excludes: Any = (),
        log_config: bool = False,
        upload_checkpoints: bool = False,
        **init: Any,
    ) -> None:
        self._given: dict[str, Any] = {
            "project": project,
            "api_key_file": api_key_file,
            "api_key": api_key,
            "excludes": excludes,
            "log_config": log_config,
            "upload_checkpoints": upload_checkpoints,
            **init,
        }
        WandbOptions.merged(self._given)
        self._options: dict[Any, WandbOptions] = {}
        self._known: dict[Any, _Known] = {}
        self._n_lost = 0
        self._runs = Runs()
        self._outbox = Outbox(self._runs.handle, name="W&B", at_exit=self._runs.end_all)

    def __repr__(self) -> str:
        return f"WandbLogger({self._given['project']!r})"

    def __reduce__(self) -> Any:
        """As it was made, without its runs: so a call of ``tune.run`` can be kept and made again."""
        settings = self._given.get("settings") or {}
        key = settings.get("api_key") if isinstance(settings, Mapping) else getattr(settings, "api_key", None)
        if key or self._given["api_key"]:
            raise TypeError("a WandbLogger that was given an API key cannot be pickled: the key is written nowhere")
        return _made, (self._given,)

    def configure(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        WandbOptions.merged(self._given, sections.get("wandb")).check_ready()

    # Events

    def on_trial_start(self, trial: Trial) -> None:
        self._of(trial)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        known = self._of(trial)
        if known is None:
            return
        if not isinstance(trial.decision, Exploit):  # else it is already the next one
            self._note_config(trial, known)
        options = self._options[trial.study]
        row = _row(result, options)
        if options.log_config:
            if known.flat is None:
                known.flat = {f"config/{name}": value for name, value in _row(known.config, options).items()}
            row.update(known.flat)
        self._put("row", trial, row)

    def on_trial_checkpoint(self, trial: Trial, checkpoint: Checkpoint) -> None:
        if self._of(trial) is not None and self._options[trial.study].upload_checkpoints:
            kept = _kept(checkpoint.path, self._options[trial.study].place)
            self._put("upload", trial, os.fspath(kept), trial.last_step)

    def on_trial_pause(self, trial: Trial) -> None:
        self._note(trial, {"state": "paused"})

    def on_trial_resume(self, trial: Trial) -> None:
        self._note(trial, {"state": "running", "attempts": trial.attempt})

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        known = self._of(trial)
        if known is not None:
            known.n_exploits += 1
            self._note_config(trial, known)
            self._note(trial, {"exploits": known.n_exploits, "donor": decision.donor})

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        self._note(trial, {"error": self._masked(trial, text)[:2000], "attempts": trial.attempt})

    def on_trial_end(self, trial: Trial) -> None:
        known = self._of(trial)
        if known is None:
            return
        self._note_config(trial, known)
        frozen = trial.study.optuna._storage.get_trial(trial.storage_id)
        state, exit_code = _ENDINGS[trial.state.name]
        summary: dict[str, Any] = {}
        if frozen.values:
            summary["value"] = frozen.values[0] if len(frozen.values) == 1 else list(frozen.values)
        if "tuneflow:reason" in frozen.user_attrs:
            summary["reason"] = self._masked(trial, str(frozen.user_attrs["tuneflow:reason"]))
        self._put("end", trial, state, exit_code, summary, False)
        del self._known[trial]

    def on_study_end(self, study: Study) -> None:
        for trial in [trial for trial in self._known if trial.study is study]:
            self._put("end", trial, "paused" if trial.is_paused else "interrupted", 1, {}, True)
            del self._known[trial]
        options = self._options.pop(study, None)
        if options is not None:
            _places[study].discard((str(options.init.get("id")), options.place))
        n_left = self._outbox.close(patience_s=_PATIENCE_S) if not self._options else self._outbox.drain(patience_s=5.0)
        if n_left:
            _logger.warning("W&B has not taken in %d item(s) yet; they follow as soon as it answers", n_left)
        else:
            self._runs.wait_for_uploads(timeout_s=_UPLOAD_S)
        lost = self._runs.take_lost()
        if lost or self._outbox.n_lost > self._n_lost:
            self._n_lost = self._outbox.n_lost
            rows = ", ".join(f"{n} of trial {number}" for number, n in sorted(lost.items())) or "none besides"
            _logger.error("W&B: not everything was logged (see the errors above); rows that are missing: %s", rows)

    # What they come to

    def _of(self, trial: Trial) -> _Known | None:
        """What is kept of a trial; its run is opened where it is not yet. None where W&B is disabled."""
        known = self._known.get(trial)
        if known is not None:
            return known
        study = trial.study
        options = self._options.get(study)
        if options is None:
            options = _placed(study, WandbOptions.merged(self._given, study.sections.get("wandb")))
            self._options[study] = options
            self._runs.know(study.uid, options)
        if options.mode == "disabled":
            return None
        known = self._known[trial] = _Known(trial.config)
        self._put("start", trial, study.study_name, plain(known.config))
        return known

    def _note_config(self, trial: Trial, known: _Known) -> None:
        """Hands on the configuration where it is another object than W&B holds: after an exploit or a suggestion."""
        config = trial.config
        if config is not known.config:
            known.config, known.flat = config, None
            self._put("config", trial, plain(config))

    def _note(self, trial: Trial, summary: dict[str, Any]) -> None:
        if self._of(trial) is not None:
            self._put("note", trial, summary)

    def _put(self, method: str, trial: Trial, *arguments: Any) -> None:
        self._outbox.put((method, (trial.study.uid, trial.number), *arguments))

    def _masked(self, trial: Trial, text: str) -> str:
        options = self._options.get(trial.study)
        return without_passwords(text) if options is None else options.masked(text)


def _made(given: dict[str, Any]) -> WandbLogger:
    return WandbLogger(**given)


def _row(result: Mapping[str, Any], options: WandbOptions) -> dict[str, Any]:
    """A result as W&B takes it: flat, numbers and texts as they are, what is W&B's own (an image, say) too."""
    row: dict[str, Any] = {}
    for key, value in flatten(result).items():
        if key in _LEFT_OUT or options.excludes_key(key):
            continue
        if any(map(is_secret, key.split("/"))) and value is not None:
            value = MASK
        elif type(value) is str:
            value = without_passwords(value)
        elif type(value) not in _SCALARS and not hasattr(value, "_log_type"):
            value = plain(value)
        row[f"result/{key}" if key in _TAKEN else without_passwords(key)] = value
    return row


def _placed(study: Study, options: WandbOptions) -> WandbOptions:
    """The options with the first place that no other logger of the study has; they hear of it in their order."""
    taken = _places.setdefault(study, set())
    of, place = str(options.init.get("id")), 1
    while (of, place) in taken:
        place += 1
    taken.add((of, place))
    return replace(options, place=place)


def _kept(folder: Path, place: int) -> Path:
    """A copy of a checkpoint, by hard links where they can be had: the original may be deleted at any time."""
    # The prefix is the one by which a later driver clears it away.
    target = folder.with_name(f".attempt_wandb_{place}_{folder.name}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
