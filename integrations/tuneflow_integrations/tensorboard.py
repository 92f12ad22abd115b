"""TensorBoard: an event file in each trial's folder, with scalars and what the HParams dashboard reads.

The records are written with tensorboardX's protocol buffers and nothing else of it: its writers start a thread and a
queue per trial, and ``add_hparams`` makes a run of its own for every call, which shows up beside the real ones.
"""

from __future__ import annotations

import functools
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.record_writer import masked_crc32c

from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.files import FilePool
from tuneflow.callbacks.flattening import flatten
from tuneflow.callbacks.recorded import recorded_results
from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import LogNotWritten
from tuneflow.plain import plain

if TYPE_CHECKING:
    from tuneflow.pruners.base import Exploit
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["TensorBoardLogger"]

_PREFIX = "tuneflow/"
_NAME = "events.out.tfevents."
# Not hyperparameters: what configures a tracker.
_TRACKERS = ("wandb", "mlflow")
# What every result of tune.run carries and nobody plots.
_UNPLOTTED = frozenset({"trial_id", "done", "pid", "hostname", "timestamp", "training_iteration"})


class TensorBoardLogger(Callback):
    """Writes what TensorBoard shows: ``tensorboard --logdir EXPERIMENT_FOLDER`` has one run per trial.

    * every number of every result as a scalar ``tuneflow/NAME``, at the trial's step;
    * the configuration and the metric for the HParams dashboard (table, parallel coordinates, scatter plots), in the
      trial's own event file, so that there are no runs but the trials;
    * what population-based training changes on the way as scalars ``tuneflow/hp/NAME``.

    A resumed trial goes on in the same file; what a killed process could not write is filled in from the study's
    record, with the metric alone. Secrets in a configuration are masked.

    Args:
        clock: where times come from.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
        >>> study.add_callback(TensorBoardLogger())
        >>> trial = study.ask()
        >>> _ = trial.report({"loss": 0.5}, step=1)
        >>> [path.name.startswith("events.out.tfevents.") for path in trial.dir.iterdir()]
        [True]
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._pool = FilePool()
        self._logs: dict[Trial, _Log] = {}

    def __reduce__(self) -> Any:
        return functools.partial(TensorBoardLogger, clock=self._clock), ()  # open files are this process's

    def on_trial_start(self, trial: Trial) -> None:
        self._meet(trial, None)

    def on_trial_resume(self, trial: Trial) -> None:
        if trial not in self._logs:
            self._meet(trial, None)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        log = self._logs.get(trial)
        if log is None:
            log = self._meet(trial, result)
        numbers = numbers_of(result)
        if not log.has_hparams:
            self._start(trial, log)
        if not log.has_columns:
            self._columns(trial, log, numbers)
        self._scalars(trial, log, numbers, trial.last_step or 0)

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        log = self._logs.get(trial) or self._meet(trial, None)
        before = log.hp or _hyperparameters(trial.schedule[0][1] if trial.schedule else {})
        now = _hyperparameters(trial.config)
        if not log.hp:
            self._scalars(trial, log, {f"hp/{key}": value for key, value in _numbers(before).items()}, 0)
        changed = {f"hp/{key}": value for key, value in _numbers(now).items() if before.get(key) != value}
        log.hp = now
        self._scalars(trial, log, changed, trial.last_step or 0)

    def on_trial_end(self, trial: Trial) -> None:
        log = self._logs.get(trial) or self._meet(trial, None)
        if not log.has_hparams:
            self._start(trial, log)
        values = trial.study.optuna._storage.get_trial(trial.storage_id).values
        if not trial.n_reports and trial.state.name == "COMPLETE" and trial.study.objectives.has_metric:
            numbers = dict(zip(_metrics(trial.study), values or (), strict=False))
            self._columns(trial, log, numbers)
            self._scalars(trial, log, numbers, 0)
        # The dashboard knows success and failure; a pruned trial has done what it was asked to.
        status = Status.Value("STATUS_FAILURE" if trial.state.name == "FAIL" else "STATUS_SUCCESS")
        end = SessionEndInfo(status=status, end_time_secs=self._clock.time())
        self._write(trial, log, _for_hparams("session_end_info", end))
        del self._logs[trial]
        self._pool.close(log.path)

    def on_study_end(self, study: Study) -> None:
        self._pool.close_all()

    # Records

    def _meet(self, trial: Trial, result: dict[str, Any] | None) -> _Log:
        log = self._logs.get(trial)
        if log is not None:
            return log
        folder = trial.dir
        found = sorted(folder.glob(f"{_NAME}*"))
        if found:
            log = _Log(os.fspath(found[-1]))
            last = log.read()
        else:
            log = _Log(os.fspath(folder / f"{_NAME}{int(self._clock.time()):010d}.{socket.gethostname()}.tuneflow"))
            last = -1
            self._pool.append(log.path, record(Event(wall_time=self._clock.time(), file_version="brain.Event:2")))
        self._logs[trial] = log
        if not log.has_hparams and trial.study.space is not None:
            self._start(trial, log)  # else at the first report: what is defined by run is not known yet
        if trial.n_reports:
            for entry in recorded_results(trial, result) or ():
                if entry["training_iteration"] > last:
                    self._scalars(trial, log, numbers_of(entry), entry["training_iteration"])
        return log

    def _start(self, trial: Trial, log: _Log) -> None:
        """The trial's hyperparameters."""
        start = SessionStartInfo(start_time_secs=self._clock.time())
        for key, value in _hyperparameters(trial.config).items():
            setattr(start.hparams[key], _kind(value)[0], value)
        self._write(trial, log, _for_hparams("session_start_info", start))
        log.has_hparams = True

    def _columns(self, trial: Trial, log: _Log, numbers: Mapping[str, float]) -> None:
        """What the dashboard makes columns of: hyperparameters, the metric, and what else a result holds.

        It shows the first few hyperparameters, by name: constants would take the place of those that vary. It takes
        all this from the first trial that says it. Where trials may differ in their hyperparameters none does: then
        it looks at all of them.
        """
        log.has_columns = True
        space = trial.study.space
        if space is None:
            return
        others = [key for key in numbers if not key.startswith("time_")]
        tags = [_PREFIX + key for key in dict.fromkeys([*_metrics(trial.study), *others])]
        varied = (*space.domains, *space.grids, *space._computed)
        flat = _hyperparameters(trial.config)
        flat = {key: value for key, value in flat.items() if any(_is_part(key, name) for name in varied)} or flat
        experiment = Experiment(
            hparam_infos=[HParamInfo(name=key, type=DataType.Value(_kind(value)[1])) for key, value in flat.items()],
            metric_infos=[MetricInfo(name=MetricName(tag=tag), display_name=tag[len(_PREFIX) :]) for tag in tags],
        )
        self._write(trial, log, _for_hparams("experiment", experiment))

    def _scalars(self, trial: Trial, log: _Log, numbers: Mapping[str, float], step: int) -> None:
        if numbers:
            entries = [Summary.Value(tag=_PREFIX + key, simple_value=value) for key, value in numbers.items()]
            self._write(trial, log, Summary(value=entries), step)

    def _write(self, trial: Trial, log: _Log, summary: Any, step: int = 0) -> None:
        data = record(Event(wall_time=self._clock.time(), step=step, summary=summary))
        try:
            self._pool.append(log.path, data)
        except LogNotWritten:
            self._logs.pop(trial, None)  # the next report fills in what is missing
            raise


class _Log:
    """What is known of a trial's event file.

    Attributes:
        path: the file.
        has_hparams: whether the configuration is in it.
        has_columns: whether it says what the dashboard shows, or need not.
        hp: the hyperparameters in force, once they have changed.
    """

    __slots__ = ("has_columns", "has_hparams", "hp", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.has_hparams = False
        self.has_columns = False
        self.hp: dict[str, Any] = {}

    def read(self) -> int:
        """Reads what an earlier process wrote, and cuts a torn end. Returns the last step; -1 without one."""
        last, end = -1, 0
        data = Path(self.path).read_bytes()
        while end + 12 <= len(data):
            (size,) = struct.unpack_from("<Q", data, end)
            stop = end + 12 + size + 4
            body = data[end + 12 : end + 12 + size]
            if stop > len(data) or struct.unpack_from("<I", data, stop - 4)[0] != masked_crc32c(body):
                break
            for value in Event.FromString(body).summary.value:
                if value.tag == "_hparams_/session_start_info":
                    self.has_hparams = True
                elif value.tag == "_hparams_/experiment":
                    self.has_columns = True
                elif value.tag.startswith(f"{_PREFIX}hp/"):
                    self.hp[value.tag.removeprefix(f"{_PREFIX}hp/")] = value.simple_value
                elif value.tag.startswith(_PREFIX):
                    last = max(last, Event.FromString(body).step)
            end = stop
        if end < len(data):
            os.truncate(self.path, end)
        return last


def record(event: Event) -> bytes:
    """An event as it stands in a file: length, checksum of the length, event, checksum of the event."""
    data: bytes = event.SerializeToString()
    header = struct.pack("<Q", len(data))
    return b"".join([header, struct.pack("<I", masked_crc32c(header)), data, struct.pack("<I", masked_crc32c(data))])


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result by path; truth values as 0 and 1."""
    own = {key: value for key, value in result.items() if key not in _UNPLOTTED}
    return _numbers(flatten(plain(own)))


def _numbers(flat: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for key, value in flat.items():
        if isinstance(value, (bool, int, float)):
            try:
                numbers[key] = float(value)
            except OverflowError:
                numbers[key] = float("inf") if value > 0 else float("-inf")
    return numbers


def _metrics(study: Study) -> tuple[str, ...]:
    return study.objectives.metrics or (study.objectives.name,)


def _hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """By path: numbers, truth values, and texts for everything else."""
    own = {key: value for key, value in config.items() if key not in _TRACKERS}
    flat = flatten(plain(own))
    return {key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in flat.items()}


def _is_part(key: str, name: str) -> bool:
    """Whether an entry of a configuration belongs to an entry of the space, which may be a part or the whole of it."""
    return key == name or key.startswith(f"{name}/") or name.startswith(f"{key}/")


def _kind(value: Any) -> tuple[str, str]:
    """The field and the type that hold a hyperparameter."""
    if isinstance(value, bool):
        return "bool_value", "DATA_TYPE_BOOL"
    if isinstance(value, str):
        return "string_value", "DATA_TYPE_STRING"
    return "number_value", "DATA_TYPE_FLOAT64"


def _for_hparams(name: str, content: Any) -> Summary:
    """A summary that only the HParams dashboard reads."""
    data = HParamsPluginData(version=0, **{name: content}).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data)
    return Summary(value=[Summary.Value(tag=f"_hparams_/{name}", metadata=SummaryMetadata(plugin_data=plugin))])
