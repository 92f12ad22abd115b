"""tuneflow: hyperparameter optimization for real training jobs.

Everything is imported when first used, so that ``import tuneflow`` costs next to nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tuneflow import registry

__version__ = "0.1.0"

_WHERE = {
    **dict.fromkeys(
        (
            "choice",
            "grid_search",
            "lograndint",
            "loguniform",
            "qlograndint",
            "qloguniform",
            "qrandint",
            "qrandn",
            "quniform",
            "randint",
            "randn",
            "sample_from",
            "uniform",
        ),
        "tuneflow.space",
    ),
    **dict.fromkeys(("create_study", "load_study"), "tuneflow.creation"),
    **dict.fromkeys(("HyperParameters", "Objective"), "tuneflow.hyperparameters"),
    **dict.fromkeys(
        ("BayesianOptimization", "GridSearch", "HyperTuner", "Hyperband", "RandomSearch"), "tuneflow.tuners"
    ),
    **dict.fromkeys(
        ("HyperModel", "Trainable", "get_checkpoint", "get_trial", "report", "with_parameters", "with_resources"),
        "tuneflow.trainable",
    ),
    **dict.fromkeys(("Executor", "Resources", "SimulatedExecutor", "shutdown_workers"), "tuneflow.runner"),
    "Callback": "tuneflow.callbacks",
    "Checkpoint": "tuneflow.checkpoint",
    "ExperimentAnalysis": "tuneflow.analysis",
    "Stopper": "tuneflow.stoppers",
    "Study": "tuneflow.study",
    "Trial": "tuneflow.trial",
    "TrialPruned": "optuna",
    "open_storage": "tuneflow.storage",
    "run": "tuneflow.experiment",
    "script": "tuneflow.trainable.script",
}
_OPTUNA_MODULES = ("distributions", "exceptions", "importance", "visualization")

__all__ = [*_WHERE]

if "TUNEFLOW_GPU_FRACTION" in os.environ:  # a process of a trial that shares a GPU
    import_module("tuneflow.gpu_share").limit_memory()

registry.register("runner", "optimize", "tuneflow.runner.optimizing:optimize")
registry.register("callbacks", "add", "tuneflow.callbacks.wiring:add_to")
registry.register("callbacks", "adapt", "tuneflow.callbacks.wiring:for_optimize")
registry.register("saver", "keras", "tuneflow_integrations.keras:KerasSaver", library="keras", extra="keras")
registry.register("saver", "torch", "tuneflow_integrations.torch_saver:TorchSaver", library="torch", extra="torch")
registry.register("session", "program", "tuneflow.trainable.attached:attach")
registry.register(
    "generators", "torch", "tuneflow_integrations.torch.generators:seed_torch", library="torch", extra="torch"
)
registry.register("executor", "simulated", "tuneflow.runner.simulated:from_name")
registry.register("executor", "ray", "tuneflow_integrations.ray:RayExecutor", library="ray", extra="ray")
registry.register("sync", "mlflow", "tuneflow_integrations.mlflow_sync:sync", library="mlflow", extra="mlflow")
for _name, _library, _extra in (
    ("hyperopt", "hyperopt", "hyperopt"),
    ("nevergrad", "nevergrad", "nevergrad"),
    ("bayesopt", "bayesian-optimization", "bayesopt"),
    ("ax", "ax-platform", "ax"),
    ("rustuna", "rustuna", "rustuna"),
):
    registry.register("sampler", _name, f"tuneflow_integrations.{_name}:make_sampler", library=_library, extra=_extra)
registry.register(
    "sampler", "rustuna-cmaes", "tuneflow_integrations.rustuna:make_cmaes", library="rustuna", extra="rustuna"
)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
    elif name in _OPTUNA_MODULES:
        value = import_module(f"optuna.{name}")
    elif name in (
        "pruners",
        "samplers",
        "study",
        "trial",
        "storage",
        "schedulers",
        "search",
        "stoppers",
        "errors",
        "space",
        "callbacks",
        "hyperparameters",
        "tuners",
    ):
        value = import_module(f"tuneflow.{name}")
    else:
        from tuneflow.moved import lacks

        raise lacks(__name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_OPTUNA_MODULES})


if TYPE_CHECKING:
    from optuna import TrialPruned as TrialPruned

    from tuneflow.analysis import ExperimentAnalysis as ExperimentAnalysis
    from tuneflow.callbacks import Callback as Callback
    from tuneflow.checkpoint import Checkpoint as Checkpoint
    from tuneflow.creation import create_study as create_study
    from tuneflow.creation import load_study as load_study
    from tuneflow.experiment import run as run
    from tuneflow.hyperparameters import HyperParameters as HyperParameters
    from tuneflow.hyperparameters import Objective as Objective
    from tuneflow.runner.executor import Executor as Executor
    from tuneflow.runner.pool import shutdown_workers as shutdown_workers
    from tuneflow.runner.resources import Resources as Resources
    from tuneflow.runner.simulated import SimulatedExecutor as SimulatedExecutor
    from tuneflow.space import choice as choice
    from tuneflow.space import grid_search as grid_search
    from tuneflow.space import lograndint as lograndint
    from tuneflow.space import loguniform as loguniform
    from tuneflow.space import qlograndint as qlograndint
    from tuneflow.space import qloguniform as qloguniform
    from tuneflow.space import qrandint as qrandint
    from tuneflow.space import qrandn as qrandn
    from tuneflow.space import quniform as quniform
    from tuneflow.space import randint as randint
    from tuneflow.space import randn as randn
    from tuneflow.space import sample_from as sample_from
    from tuneflow.space import uniform as uniform
    from tuneflow.stoppers import Stopper as Stopper
    from tuneflow.storage import open_storage as open_storage
    from tuneflow.study import Study as Study
    from tuneflow.trainable import HyperModel as HyperModel
    from tuneflow.trainable import Trainable as Trainable
    from tuneflow.trainable import get_checkpoint as get_checkpoint
    from tuneflow.trainable import get_trial as get_trial
    from tuneflow.trainable import report as report
    from tuneflow.trainable import with_parameters as with_parameters
    from tuneflow.trainable import with_resources as with_resources
    from tuneflow.trainable.script import script as script
    from tuneflow.trial import Trial as Trial
    from tuneflow.tuners import BayesianOptimization as BayesianOptimization
    from tuneflow.tuners import GridSearch as GridSearch
    from tuneflow.tuners import Hyperband as Hyperband
    from tuneflow.tuners import HyperTuner as HyperTuner
    from tuneflow.tuners import RandomSearch as RandomSearch
