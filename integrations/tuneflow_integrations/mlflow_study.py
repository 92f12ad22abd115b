"""What is logged of one study: from events to entries of the spool. Knows nothing of MLflow's client."""

from __future__ import annotations

import getpass
import json
import logging
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from tuneflow.analysis.reading import read_checkpoints
from tuneflow.callbacks.recorded import recorded_results
from tuneflow.clock import Clock
from tuneflow.plain import without_passwords
from tuneflow_integrations.mlflow_known import Known, RunLog
from tuneflow_integrations.mlflow_names import MAX_PARAM_CHARS, Names, clip, metrics_of, params_of, text_of
from tuneflow_integrations.mlflow_place import FOLDER, Place
from tuneflow_integrations.mlflow_sender import PARENT, MlflowSender
from tuneflow_integrations.shipping import Shipper
from tuneflow_integrations.spool import Spool

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tuneflow.checkpoint import Checkpoint
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["Choices", "StudyLog"]

_KEY_ATTRIBUTE = "tuneflow:mlflow"
_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
_logger = logging.getLogger("tuneflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What ``MLflowLogger`` was told; its attributes are described there."""

    log_checkpoints: str
    artifacts: tuple[str, ...]
    log_model: Callable[[Path, Path], Any] | None
    registered_model_name: str | None
    flush_timeout_s: float
    interval_s: float
    clock: Clock


class StudyLog:
    """Writes the entries of one study and has them sent.

    Args:
        study: an old one is caught up with: what its record has and the spool lacks is added.
        place: where it is logged to.
        choices: what is logged.
        root: where the spool is to be; the study's own folder by default.
    """

    def __init__(self, study: Study, place: Place, choices: Choices, root: Path | None) -> None:
        self.choices = choices
        self.names = Names()
        folder = study.folders.root if root is None else root
        self.spool = Spool(folder / FOLDER / place.spool_name)
        self._known = Known(self.spool)
        self._runs = self._known.runs
        is_shared = study.folders.is_temporary and _KEY_ATTRIBUTE in study.user_attrs
        key = _key_of(study)
        target = {
            "uri": place.safe_uri,
            "experiment": place.experiment,
            "study": study.study_name,
            "key": key,
            "is_shared": is_shared,
            "tags": {
                "mlflow.user": _user(),
                "mlflow.source.name": Path(sys.argv[0] or "python").name,
                "mlflow.source.type": "LOCAL",
                "tuneflow.study": study.study_name,
                **{self.names.of(tag): value for tag, value in place.tags.items()},
            },
        }
        target["key"] = self.spool.claim_target(target)["key"]  # a trial with the mixin may have been quicker
        self.spool.set_target(target)
        self._hint = f"What is not sent stays in {self.spool.folder}, and is sent when the server answers again" + (
            "" if study.folders.is_temporary else f", or by: tuneflow sync {folder}"
        )
        self._sender = MlflowSender(self.spool, place.uri)
        self._shipper = Shipper(self._sender.drain, interval_s=choices.interval_s, hint=self._hint)
        self._names_of_metrics = list(study.objectives.metrics) or (
            [study.objectives.name]
            if len(study.directions) == 1
            else [f"value_{i}" for i in range(len(study.directions))]
        )
        directions = ["maximize" if each.name == "MAXIMIZE" else "minimize" for each in study.directions]
        self._put(
            PARENT,
            status="RUNNING",
            tags={
                "tuneflow.state": "RUNNING",
                "tuneflow.metric": ", ".join(self._names_of_metrics) if study.objectives.has_metric else "",
                "tuneflow.direction": ", ".join(directions) if study.objectives.has_metric else "",
                "tuneflow.sampler": type(study.sampler).__name__,
            },
        )
        # The record of a study without a folder does not tell what its server has.
        if study.n_new and not study.folders.is_temporary:
            self._catch_up(study)

    # Events of trials

    def start(self, trial: Trial) -> None:
        self._meet(trial)
        self._params(trial)

    def report(self, trial: Trial, result: Mapping[str, Any]) -> None:
        log = self._runs.get(str(trial.number))
        if log is None:
            log = self._meet(trial, dict(result))
        if log.config is not trial.config:
            self._params(trial)
        step = trial.last_step or 0
        if step <= log.step:  # caught up with from the study's record, which has the metric alone
            result = {key: value for key, value in result.items() if key != trial.study.objectives.name}
        self._metrics(str(trial.number), log, result, step)

    def pause(self, trial: Trial) -> None:
        self._put(str(trial.number), tags={"tuneflow.state": "PAUSED", "tuneflow.paused_at": str(trial.last_step)})

    def resume(self, trial: Trial) -> None:
        self._meet(trial)
        tags = {"tuneflow.state": "RUNNING"}
        if trial.attempt > 1:
            tags["tuneflow.attempt"] = str(trial.attempt)
        self._put(str(trial.number), tags=tags, status="RUNNING")

    def exploit(self, trial: Trial, donor: int) -> None:
        """The new hyperparameters as metrics, since parameters never change; first those that the trial began with."""
        name, log = str(trial.number), self._meet(trial)
        if not log.hp and trial.schedule:
            self._changed(name, log, trial.schedule[0][1], 0)
        log.config = trial.config
        self._changed(name, log, trial.config, trial.last_step or 0)
        self._put(name, tags={"tuneflow.donor": str(donor)})

    def error(self, trial: Trial, error: BaseException) -> None:
        text = str(error).partition("\n")[0] or type(error).__name__
        self._put(str(trial.number), tags={"tuneflow.error": without_passwords(f"{type(error).__name__}: {text}")})

    def checkpoint(self, trial: Trial, checkpoint: Checkpoint) -> None:
        """A checkpoint to upload. Copied, since the rules may delete it before it is sent."""
        path = checkpoint.path
        kept = self.spool.keep_file(path, f"{trial.number:05d}-{path.name}")
        self._put(str(trial.number), files=[{"from": kept, "to": f"checkpoints/{path.name}"}])

    def trial_end(self, trial: Trial) -> None:
        log = self._meet(trial)
        if log.is_ended:
            return
        self._params(trial)
        self._ended(trial.study, trial.study.optuna._storage.get_trial(trial.storage_id), log)

    # The end of the study

    def end(self, study: Study) -> None:
        """Ends the study's run, with the best trial's checkpoint, and sends what is left."""
        live = study.live_trials()
        for trial in live:
            state = "PAUSED" if trial.is_paused else "INTERRUPTED"
            self._put(str(trial.number), tags={"tuneflow.state": state}, status="KILLED")
        try:
            self._best_checkpoint(study)
        finally:
            self._put(
                PARENT,
                tags={"tuneflow.state": "INTERRUPTED" if live else "COMPLETE"},
                status="KILLED" if live else "FINISHED",
            )
            self._close()

    def _close(self) -> None:
        is_over = self._shipper.close(self.choices.flush_timeout_s)
        n_left = self.spool.n_unsent_bytes
        if n_left:
            reason = "is still answering" if not is_over else "did not take everything"
            _logger.warning("the MLflow server %s: %d bytes were not sent. %s", reason, n_left, self._hint)
        elif is_over:
            with self.spool.sending() as is_ours:
                if is_ours:
                    self.spool.compact(self._known.summary())
        self.spool.close()

    def _best_checkpoint(self, study: Study) -> None:
        if self._known.best is None or self.choices.log_checkpoints == "none":
            return
        best = study.best_trial
        found = read_checkpoints(study.folders.of(best.number))
        if not found:
            return
        values = best.intermediate_values
        scored = [(values[step], step, checkpoint) for step, checkpoint in found if step in values]
        lowest = study.direction.name != "MAXIMIZE"
        _, step, checkpoint = (
            min(scored, key=lambda each: (each[0] if lowest else -each[0], -each[1])) if scored else (0.0, *found[-1])
        )
        what = f"trial {best.number}, step {step}"
        if what == self._known.best_checkpoint:
            return  # uploaded when the study ended before
        self._known.best_checkpoint = what
        files = [{"from": self.spool.keep_file(checkpoint.path, "best_checkpoint"), "to": "best_checkpoint"}]
        if self.choices.log_model is not None:
            with self._model_of(checkpoint.path) as model:
                files += model
        self._put(PARENT, tags={"tuneflow.best_checkpoint": what}, files=files)

    @contextmanager
    def _model_of(self, checkpoint: Path) -> Iterator[list[dict[str, Any]]]:
        """The entry for the model that the user's function makes of a checkpoint; nothing where it fails."""
        assert self.choices.log_model is not None
        name = f"model-{uuid.uuid4().hex[:8]}"
        target = self.spool.folder / "files" / name
        entry = {"from": f"files/{name}", "to": "", "model": "model", "register": self.choices.registered_model_name}
        try:
            self.choices.log_model(checkpoint, target)
        except Exception as error:
            _logger.error("log_model could not make a model of %s: %r", checkpoint, error, exc_info=error)
            self.spool.drop_file(f"files/{name}")
            yield []
            return
        yield [entry]

    # Entries

    def _put(self, run: str, **entry: Any) -> None:
        """One entry; what is empty is left out."""
        whole = {"run": run, "at": entry.pop("at", None) or self._now_ms()}
        self.spool.append({**whole, **{key: value for key, value in entry.items() if value or key == "step"}})
        self._shipper.wake()

    def _now_ms(self) -> int:
        return int(self.choices.clock.time() * 1000)

    def _meet(self, trial: Trial, result: dict[str, Any] | None = None) -> RunLog:
        """The trial's log; what the study has recorded of it and the spool lacks is added first."""
        name = str(trial.number)
        log = self._runs.get(name)
        if log is not None:
            return log
        log = self._runs[name] = RunLog()
        self._put(name, tags={"tuneflow.state": "RUNNING"})
        if trial.n_reports and not trial.study.folders.is_temporary:
            for entry in recorded_results(trial, result) or ():
                self._metrics(name, log, entry, entry["training_iteration"])
        return log

    def _params(self, trial: Trial) -> None:
        """Parameters that are new: a trial that is defined by run gets them one by one."""
        log = self._runs[str(trial.number)]
        config = trial.config
        if log.config is config or trial.has_own_config:
            return
        log.config = config
        self._put_params(str(trial.number), log, params_of(config))

    def _put_params(self, name: str, log: RunLog, params: Mapping[str, Any], at: int | None = None) -> None:
        cleaned = {self.names.of(key): text_of(value) for key, value in params.items()}
        new = {name: text for name, text in cleaned.items() if name not in log.params}
        if not new:
            return
        log.params.update(new)
        files = []
        if any(len(text) > MAX_PARAM_CHARS for text in new.values()):
            files = [{"from": self._text_file("params.json", params), "to": ""}]
        self._put(name, at=at, params=new, files=files)

    def _text_file(self, name: str, content: Any) -> str:
        """A file to upload under its own name, in a folder of its own."""
        place = f"files/{uuid.uuid4().hex[:8]}/{name}"
        path = self.spool.folder / place
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
        return place

    def _metrics(self, name: str, log: RunLog, result: Mapping[str, Any], step: int, at: int | None = None) -> None:
        numbers, texts = metrics_of(result)
        of = self.names.of
        metrics = {of(key): value for key, value in numbers.items()}
        tags = {}
        for key, text in texts.items():
            if log.texts.get(key) != text:
                log.texts[key] = text
                tags[of(f"result/{key}")] = text
        log.step = max(log.step, step)
        if metrics or tags:
            self._put(name, at=at, step=step, metrics=metrics, tags=tags)

    def _changed(self, name: str, log: RunLog, config: Mapping[str, Any], step: int) -> None:
        """Hyperparameters that are others than before, as metrics; as tags where they are no numbers."""
        values = {self.names.of(f"hp/{key}"): value for key, value in params_of(config).items()}
        new = {key: value for key, value in values.items() if key not in log.hp or log.hp[key] != value}
        log.hp.update(new)
        metrics = {key: float(value) for key, value in new.items() if isinstance(value, (int, float))}
        tags = {key: text_of(value) for key, value in new.items() if key not in metrics}
        if new:
            self._put(name, step=step, metrics=metrics, tags=tags)

    def _ended(self, study: Study, frozen: FrozenTrial, log: RunLog, at: int | None = None) -> None:
        """The end of a trial's run, and the study's best so far."""
        name = str(frozen.number)
        log.is_ended = True
        metrics = {}
        values = frozen.values if frozen.state is TrialState.COMPLETE and study.objectives.has_metric else None
        for metric, value in zip(self._names_of_metrics, values or (), strict=False):
            if frozen.last_step is None:
                metrics[self.names.of(metric)] = value
            elif frozen.intermediate_values[frozen.last_step] != value:
                metrics[self.names.of(f"final/{metric}")] = value
        folder = study.folders.of(frozen.number)
        found = sorted({path for pattern in self.choices.artifacts for path in folder.glob(pattern)})
        files = [
            {"from": self.spool.keep_file(path, f"{name}/{path.name}"), "to": _parent_of(path, folder)}
            for path in found
        ]
        self._put(
            name,
            at=at,
            step=frozen.last_step or 0,
            metrics=metrics,
            tags={"tuneflow.state": frozen.state.name},
            files=files,
            status=_STATUS[frozen.state],
        )
        if values is not None and len(values) == 1:
            self._note_best(study, frozen, values[0], at)

    def _note_best(self, study: Study, frozen: FrozenTrial, value: float, at: int | None) -> None:
        is_max = study.direction.name == "MAXIMIZE"
        if self._known.best is not None and (value <= self._known.best if is_max else value >= self._known.best):
            return
        self._known.best = value
        config = {key: clip(text_of(value), 200) for key, value in params_of(study.config(frozen)).items()}
        self._put(
            PARENT,
            at=at,
            step=sum(each.is_ended for each in self._runs.values()),
            metrics={self.names.of(f"best_{self._names_of_metrics[0]}"): value},
            tags={"tuneflow.best_trial": f"{frozen.number:05d}", "tuneflow.best_config": json.dumps(config)},
            references={"tuneflow.best_run_id": str(frozen.number)},
        )

    # An old study

    def _catch_up(self, study: Study) -> None:
        """Adds what the study's record has and the spool lacks: the driver was killed in between, or had no logger."""
        for frozen in study.get_trials(deepcopy=False):
            name = str(frozen.number)
            log = self._runs.get(name)
            if frozen.state is TrialState.WAITING or (log is not None and log.is_ended):
                continue
            begun, ended = _ms(frozen.datetime_start), _ms(frozen.datetime_complete)
            if log is None:
                log = self._runs[name] = RunLog()
                self._put(name, at=begun, tags={"tuneflow.state": "RUNNING"})
            self._put_params(name, log, params_of(study._config_of_frozen(frozen)), begun)
            for step in sorted(frozen.intermediate_values):
                if step > log.step:
                    entry = {study.objectives.name: frozen.intermediate_values[step]}
                    self._metrics(name, log, entry, step, ended)
            exploits = study._exploits_of(frozen)
            if exploits and not log.hp:
                self._changed(name, log, study._config_of_frozen(frozen), 0)
            else:
                exploits = exploits[-1:]  # the others are in the spool
            for step, config, _ in exploits:
                self._changed(name, log, config, step)
            if frozen.state.is_finished():
                self._ended(study, frozen, log, ended)


def _parent_of(path: Path, folder: Path) -> str:
    parent = path.parent.relative_to(folder).as_posix()
    return "" if parent == "." else parent


def _ms(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _key_of(study: Study) -> str:
    """What names the study's runs on the server. Stored with the study, so that who resumes it finds them."""
    key = study.user_attrs.get(_KEY_ATTRIBUTE)
    if not isinstance(key, str):
        key = uuid.uuid4().hex
        study.set_user_attr(_KEY_ATTRIBUTE, key)
    return key


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
