"""What to write instead of Ray Tune's names and arguments that are not here.

A script that moves over is told so at the line that has to change, rather than that something does not exist.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, TypeVar

from tuneflow.errors import InvalidArgumentType

__all__ = ["lacks", "lacks_attribute", "refuse_unknown", "refusing"]

C = TypeVar("C", bound=type)

_REPORTER = (
    "leave progress_reporter out, verbose=2 shows parameters, metric and time of each trial; a reporter of your own is "
    "a tuneflow.callbacks.ProgressReporter"
)
_TUNER = (
    "call tune.run(train, config=space, ...), which takes what TuneConfig, RunConfig and its kin hold by the same names"
)
_KEEP = "pass tune.run(checkpoint_freq=, checkpoint_at_end=, keep_checkpoints_num=, checkpoint_score_attr=)"
_SEVERAL = "call tune.run once for each experiment; every entry of an experiment is an argument of it"
_INSIDE = "write tune.get_trial().{}"
_REGISTERED = "pass the function or class itself to tune.run"
_NO_LIBRARY = "there is no adapter to its library; OptunaSearch(), BayesOptSearch() or HyperOptSearch() are closest"
_NO_CHANGE = "all trials of a run take the same resources: pass resources_per_trial to tune.run"
_CSV, _JSON = "write tuneflow.callbacks.CsvLogger", "write tuneflow.callbacks.JsonLogger"
_TENSORBOARD = "write tuneflow_integrations.tensorboard.TensorBoardLogger"
_LISTENER = (
    "subclass tuneflow.Callback, with on_trial_start(self, trial), on_trial_report(self, trial, result) and "
    "on_trial_end(self, trial)"
)
_CALLBACK = "write TuneCallback, which reports and saves; its arguments differ, see help(TuneCallback)"

_NAMES: Mapping[str, Mapping[str, str]] = {
    "tuneflow": {
        **dict.fromkeys(("CLIReporter", "JupyterNotebookReporter"), _REPORTER),
        **dict.fromkeys(("Tuner", "TuneConfig", "RunConfig", "ResultGrid"), _TUNER),
        **dict.fromkeys(("Experiment", "run_experiments"), _SEVERAL),
        **dict.fromkeys(("register_trainable", "register_env"), _REGISTERED),
        **{f"get_trial_{name}": _INSIDE.format(name) for name in ("dir", "resources")},
        **dict.fromkeys(("get_trial_id", "get_trial_name"), _INSIDE.format("trial_id")),
        "Analysis": "write tune.ExperimentAnalysis(folder)",
        "CheckpointConfig": _KEEP,
        "DurableTrainable": "subclass tune.Trainable; checkpoints are kept in storage_path",
        "FailureConfig": "pass tune.run(max_failures=, fail_fast=)",
        "PlacementGroupFactory": "write a dict of resources, {'cpu': 1, 'gpu': 0.5}",
        "ProgressReporter": "write tuneflow.callbacks.ProgressReporter, whose method is report(self, progress)",
        "SyncConfig": "leave sync_config out; results and checkpoints are written to storage_path",
        "TrainingResult": "return a dict of metrics",
        "TuneError": "write tuneflow.errors.TuneflowError; failed trials raise tuneflow.errors.TrialsFailed",
        "checkpoint_dir": "write into a temporary folder and pass that with the report, tune.report(loss=..., "
        "checkpoint=folder), or an object, checkpoint={'step': step}; a trial that goes on finds it in "
        "tune.get_checkpoint()",
        "create_scheduler": "write tuneflow.schedulers.create_scheduler",
        "create_searcher": "pass the searcher's name, search_alg='tpe'",
        "durable": "pass the trainable as it is; checkpoints are kept in storage_path",
        "function": "pass the function itself",
        "get_context": "write tune.get_trial()",
        "integration": "import tuneflow_integrations.LIBRARY, or tuneflow.search for searchers",
        "is_session_enabled": "call tune.get_trial(), which raises tuneflow.errors.UsageError outside a trial",
        "load_checkpoint": "call tune.get_checkpoint()",
        "logger": "write tuneflow.callbacks",
        "save_checkpoint": "pass the state with the report, tune.report(loss=..., checkpoint=state)",
        "session": "write tune.report({...}, checkpoint=...) and tune.get_checkpoint()",
        "stopper": "write tuneflow.stoppers",
        "suggest": "write tuneflow.search",
        "track": "write tune.report(loss=...) for tune.track.log(loss=...)",
    },
    "tuneflow.search": {
        **dict.fromkeys(
            ("BlendSearch", "CFO", "DragonflySearch", "HEBOSearch", "SigOptSearch", "SkOptSearch", "ZOOptSearch"),
            _NO_LIBRARY,
        ),
        **dict.fromkeys(("SearchAlgorithm", "SearchGenerator"), "write tuneflow.search.Searcher, or an Optuna sampler"),
        "TuneBOHB": "write OptunaSearch() with scheduler=HyperBandScheduler()",
        "create_searcher": "pass the searcher's name, search_alg='tpe'",
    },
    "tuneflow.schedulers": {
        **dict.fromkeys(
            ("ResourceChangingScheduler", "DistributeResources", "DistributeResourcesToTopJob"),
            _NO_CHANGE,
        ),
        "HyperBandForBOHB": "write HyperBandScheduler() with search_alg=OptunaSearch()",
    },
    "tuneflow.stoppers": {
        "EarlyStopping": "write ExperimentPlateauStopper, which is the same",
        "NoopStopper": "leave stop out",
    },
    "tuneflow.callbacks": {
        **dict.fromkeys(("CLIReporter", "JupyterNotebookReporter"), _REPORTER),
        **dict.fromkeys(("CSVLogger", "CSVLoggerCallback"), _CSV),
        **dict.fromkeys(("JSONLogger", "JsonLoggerCallback"), _JSON),
        **dict.fromkeys(("TBXLogger", "TBXLoggerCallback", "TFLogger", "TF2Logger"), _TENSORBOARD),
        **dict.fromkeys(("Logger", "LoggerCallback"), _LISTENER),
        **dict.fromkeys(("MLFLowLogger", "MLflowLogger"), "write tuneflow_integrations.mlflow.MLflowLogger"),
        "UnifiedLogger": "pass loggers=[...] to tune.run",
        "WandbLogger": "write tuneflow_integrations.wandb.WandbLogger",
        "pretty_print": "write pprint.pformat, of the standard library",
    },
    "tuneflow_integrations.mlflow": dict.fromkeys(("MLFlowLogger", "MLflowLoggerCallback"), "write MLflowLogger"),
    "tuneflow_integrations.wandb": {
        "WandbLoggerCallback": "write WandbLogger, which takes the same arguments",
        "WandbTrainableMixin": "write @wandb_mixin above the class",
    },
    **{
        f"tuneflow_integrations.{library}": dict.fromkeys(
            ("TuneReportCallback", "TuneReportCheckpointCallback"), _CALLBACK
        )
        for library in ("keras", "lightgbm", "lightning", "xgboost")
    },
}
"""By module."""

_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "Checkpoint": dict.fromkeys(("value", "dir_or_data", "local_path"), "write checkpoint.path"),
    "ExperimentAnalysis": {
        "best_dataframe": "write analysis.trial_dataframes[analysis.best_trial.trial_id]",
        "default_metric": "write metric= and mode= in tune.run; the experiment's are analysis.metrics",
        "default_mode": "write metric= and mode= in tune.run; the experiment's are analysis.metrics",
        "experiment_path": "write analysis.folder",
        "fetch_trial_dataframes": "write analysis.trial_dataframes",
        "get_all_configs": "write {trial.logdir: trial.config for trial in analysis.trials}",
        "get_last_checkpoint": "write trial.checkpoint, analysis.best_trial.checkpoint for instance",
        "get_trial_checkpoints_paths": "write trial.best_checkpoint(metric, mode); all are in trial.logdir",
        "results": "write {trial.trial_id: trial.last_result for trial in analysis.trials}",
        "runner_data": "write analysis.stats()",
    },
    "Trainable": {
        "_iteration": "write self.iteration",
        "_logdir": "write self.logdir",
        "get_config": "write self.config",
        "restore": "write trainable.load_checkpoint(checkpoint.path), or whatever save_checkpoint returned",
        "save": "write trainable.save_checkpoint(folder)",
        "stop": "write trainable.cleanup()",
        "train": "write trainable.step()",
        "trial_name": "write self.trial_id",
        "trial_resources": "write tune.get_trial().resources",
    },
    "TrialRecord": {
        **dict.fromkeys(("local_dir", "local_path", "path"), "write trial.logdir"),
        "error_file": "the text is in error.txt in trial.logdir, the exception is trial.error",
        "evaluated_params": "write trial.config",
        "experiment_tag": "a trial is named by trial.trial_id, and trial.config says what it tried",
        "metric_analysis": "write trial.values(metric), all its values in order",
        "trainable_name": "a trial is named by trial.trial_id",
    },
}
"""By class."""

_LIMIT = "limit trials at a time with tune.run(max_concurrent_trials=...), or ConcurrencyLimiter(searcher, ...)"
_REWARD = "write metric='KEY' and mode='max'"
_OF_CALLBACKS = {
    **dict.fromkeys(("save_checkpoints", "checkpoint_on"), "write checkpoint=True or False"),
    "filename": "leave it out: callback.fit or callback.train, and analysis.best_checkpoint, find the checkpoint",
    "results_postprocessing_fn": "name what is reported: {'loss': 'eval-logloss'}",
}
_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "tune.run": {
        **dict.fromkeys(
            ("trial_name_creator", "trial_dirname_creator"),
            "leave it out: a trial and its folder are named by its number, trial.config says what it tried",
        ),
        **dict.fromkeys(
            ("sync_config", "sync_to_cloud", "sync_to_driver", "sync_on_checkpoint", "upload_dir"),
            "leave it out: results and checkpoints are written to storage_path",
        ),
        **dict.fromkeys(
            ("queue_trials", "ray_auto_init", "server_port", "with_server", "remote_checkpoint_dir"),
            "leave it out: there is no cluster to start",
        ),
        **dict.fromkeys(("run_or_experiment", "run"), "pass the trainable first: tune.run(train, ...)"),
        **dict.fromkeys(("param_space", "space"), "write config={...}"),
        **dict.fromkeys(("tune_config", "run_config"), "pass what it holds as arguments of tune.run"),
        **dict.fromkeys(("resources", "trial_resources"), "write resources_per_trial={'cpu': 1, 'gpu': 0.5}"),
        "chdir_to_trial_dir": "leave it out: trials run where the script does; their folder is tune.get_trial().dir",
        "checkpoint_config": _KEEP,
        "export_formats": "leave it out; export what you need from analysis.best_checkpoint",
        "failure_config": "write max_failures= and fail_fast=",
        "global_checkpoint_period": "leave it out: everything is recorded as it happens",
        "local_dir": "write storage_path=, the folder that holds experiments",
        "log_to_file": "leave it out: what a trial prints is kept in its folder, in stdout.txt and stderr.txt",
        "raise_on_error": "write raise_on_failed_trial=",
        "repeat": "write num_samples=",
        "restore": "give the trainable the path, tune.with_parameters(train, start=path), and load it there; "
        "resume=True goes on with an experiment",
        "return_trials": "leave it out: analysis.trials holds them",
        "reuse_actors": "leave it out: worker processes serve trial after trial",
        "storage_filesystem": "leave it out: storage_path is a folder on this machine",
        "trial_executor": "write executor='processes', 'inline', 'simulated' or an Executor",
    },
    "searcher": {
        "max_concurrent": _LIMIT,
        "reward_attr": _REWARD,
        "use_early_stopped_trials": "leave it out: what stopped trials reported counts too",
        "verbose": "leave it out",
    },
    "scheduler": {
        "reward_attr": _REWARD,
        "metric_name": "write metric=",
        "resample_prob": "write resample_probability=",
    },
    "ProgressTable": dict.fromkeys(
        (
            *("metric_columns", "parameter_columns", "max_progress_rows", "max_error_rows", "max_report_frequency"),
            *("infer_limit", "print_intermediate_tables", "sort_by_metric", "max_column_length"),
        ),
        "leave it out: it shows parameters, metric and time of each trial; for other columns subclass "
        "tuneflow.callbacks.ProgressReporter with report(self, progress)",
    ),
    "TuneCallback": {**_OF_CALLBACKS, "frequency": "write every="},
    "keras.TuneCallback": {
        **_OF_CALLBACKS,
        "frequency": "leave it out: checkpoints are written where needed, and as tune.run(checkpoint_freq=) says",
        "on": "leave it out: it reports at the end of each epoch",
    },
    "lightning.TuneCallback": _OF_CALLBACKS,
    "MLflowLogger": {
        "experiment_id": "write experiment_name=",
        "registry_uri": "leave it out; log_model and registered_model_name register models",
        "save_artifact": "write log_checkpoints='best', 'all' or 'none'",
        "tracking_token": "set the variable MLFLOW_TRACKING_TOKEN",
    },
    "ExperimentAnalysis": {
        "default_metric": "write metric=",
        "default_mode": "write mode=",
        "trials": "leave it out: they are read from the folder",
    },
    "analysis.get_best_trial": {"filter_nan_and_inf": "leave it out: NaN is never best"},
    "analysis.get_best_checkpoint": {
        "trial": "write trial.best_checkpoint(metric, mode), or leave it out for the best trial",
        "return_path": "leave it out: a checkpoint is a path too",
    },
}
"""By what is called."""


def lacks(module: str, name: str) -> Exception:
    """The error for a module's name that does not exist; for a module's ``__getattr__`` to raise.

    Returns:
        An ``AttributeError``. In an import line, where that would lose its text, an ``ImportError``.
    """
    text = f"module {module!r} has no attribute {name!r}"
    advice = _NAMES.get(module, {}).get(name)
    if advice is None:
        return AttributeError(text)
    if _imports(sys._getframe(2)):
        return ImportError(f"cannot import name {name!r} from {module!r}: {advice}", name=module)
    return AttributeError(f"{text}: {advice}")


def _imports(frame: FrameType) -> bool:
    """Whether ``from module import name`` runs there: of a package the import system asks, of a module the line."""
    if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
        return True
    from opcode import opmap

    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]


def lacks_attribute(holder: object, name: str, kind: str) -> AttributeError:
    """The error for an attribute that an object has not; for its class's ``__getattr__`` to raise.

    Args:
        holder: the object.
        name: the attribute.
        kind: whose advice holds.
    """
    advice = _ATTRIBUTES[kind].get(name)
    text = f"{type(holder).__name__!r} object has no attribute {name!r}"
    return AttributeError(text if advice is None else f"{text}: {advice}", name=name, obj=holder)


def refuse_unknown(call: str, unknown: Iterable[str], known: Iterable[str], kind: str | None = None) -> None:
    """Refuses arguments that a call does not take.

    Args:
        call: what is called, as the user writes it.
        unknown: the arguments, by name; none is fine.
        known: those that it takes.
        kind: whose advice holds, ``call`` without it.

    Raises:
        InvalidArgumentType: there are some; the message says what to write instead of each, where that is known.
    """
    advice = _ARGUMENTS.get(kind or call, {})
    texts = []
    for name in unknown:
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
        instead = advice.get(name) or (f"did you mean {close[0]}?" if close else f"it takes: {', '.join(known)}")
        texts.append(f"{name} ({instead})")
    if texts:
        raise InvalidArgumentType(f"{call} does not take {', '.join(texts)}")


def refusing(kind: str) -> Callable[[C], C]:
    """A decorator of a class: arguments that its constructor does not take are refused with advice.

    Args:
        kind: whose advice holds.
    """

    def decorated(cls: C) -> C:
        made: Any = cls.__init__  # type: ignore[misc]
        known = [name for name in inspect.signature(made).parameters if name != "self"]

        @functools.wraps(made)
        def init(self: Any, *given: Any, **named: Any) -> None:
            refuse_unknown(type(self).__name__, [name for name in named if name not in known], known, kind)
            made(self, *given, **named)

        cls.__init__ = init  # type: ignore[misc]
        return cls

    return decorated
