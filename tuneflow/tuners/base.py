"""``HyperTuner``: searches the hyperparameters of a HyperModel."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.analysis import ExperimentAnalysis
from tuneflow.clock import SystemClock
from tuneflow.creation import load_study
from tuneflow.errors import InvalidArgument, TrialsFailed, UsageError
from tuneflow.experiment import run
from tuneflow.experiment_folder import folder_of
from tuneflow.hyperparameters import HyperParameters, discover, objective_from
from tuneflow.runner.executor import Executor
from tuneflow.runner.processes import ProcessExecutor
from tuneflow.runner.resources import Resources, machine, request_from
from tuneflow.trainable.hypermodel import as_hypermodel
from tuneflow.trainable.hypermodel_saving import saver_for
from tuneflow.trainable.hypermodel_trial import HyperTrainable, load_best
from tuneflow.tuners.progress import Progress
from tuneflow.tuners.project import Project
from tuneflow.tuners.ranking import Entry, Ranking
from tuneflow.tuners.recording import Recorder

if TYPE_CHECKING:
    from tuneflow.study import Study

__all__ = ["HyperTuner"]


class HyperTuner:
    """Searches the hyperparameters of a HyperModel with any sampler and any pruner.

    The space is found by building the model; hyperparameters first met in ``fit`` join it then. Each ``on_epoch_end``
    of the callbacks that ``fit`` gets is a report, so that every pruner can stop, pause and resume a ``fit``.

    Args:
        hypermodel: a ``HyperModel``, any object with ``build(hp)`` and, if it likes, ``fit(hp, model, ...)``,
            KerasTuner's own included, or a function ``build(hp)``.
        objective: an ``Objective``, or a metric's name that tells the direction ("val_loss"); without it the number
            that ``fit`` returns, to be minimised.
        sampler: a name ("tpe", "random", "gp", ...) or an Optuna sampler. Default TPE.
        pruner: a tuneflow or Optuna pruner; its steps are epochs. Default none.
        max_trials: how many configurations to try, those of earlier searches in the same project included; None for
            as many as the sampler gives.
        executions_per_trial: trainings per configuration; their mean counts.
        max_retries_per_trial: further attempts of a trial that failed, from its last checkpoint.
        max_consecutive_failed_trials: this many trials in a row that fail end the search.
        directory: where projects are; ``./tuneflow_results`` without it.
        project_name: the project's folder; "untitled_project" without it.
        overwrite: whether a project of this name is deleted first; else the search goes on with it, and says so.
        seed: fixes what is tried where trials run one at a time; any integer >= 0.
        hyperparameters: hyperparameters that go before those that ``build`` declares under the same name.
        tune_new_entries: whether hyperparameters that are not among ``hyperparameters`` are tuned; else they keep
            their defaults.
        allow_new_entries: whether there may be any.
        saver: how models are saved: ``(save, load)``, two functions of ``(model, folder)``; chosen by the model
            without it.
        keep_models: how many trials' models stay on the disk, the best; None for all, 0 for none.
        callbacks: listeners and trackers of the run, as for ``tune.run``; Keras callbacks go to ``search``.
        loggers: as for ``tune.run``.
        verbose: 0 prints nothing.

    Attributes:
        hypermodel: what is tuned.
        objective: what for.

    Raises:
        InvalidArgument: an argument that breaks a rule; or the project there has another space or objective.

    Example:
        >>> import tempfile, tuneflow as tune
        >>> class Square(tune.HyperModel):
        ...     def build(self, hp):
        ...         return hp.Float("x", -1.0, 1.0)
        ...
        ...     def fit(self, hp, model):
        ...         return model**2
        >>> tuner = HyperTuner(Square(), max_trials=10, seed=0, directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.search()
        >>> abs(tuner.get_best_hyperparameters()[0]["x"]) < 0.5
        True
    """

    def __init__(
        self,
        hypermodel: Any,
        objective: Any = None,
        *,
        sampler: Any = None,
        pruner: Any = None,
        max_trials: int | None = 10,
        executions_per_trial: int = 1,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        saver: Any = None,
        keep_models: int | None = 10,
        callbacks: Sequence[Any] | None = None,
        loggers: Sequence[Any] | None = None,
        verbose: int = 1,
    ) -> None:
        self.hypermodel = as_hypermodel(hypermodel)
        self.objective = objective_from(objective)
        self._sampler, self._pruner = sampler, pruner
        self.max_trials = max_trials
        self._executions = _at_least("executions_per_trial", executions_per_trial, 1)
        self._max_retries = _at_least("max_retries_per_trial", max_retries_per_trial, 0)
        self._max_failed = _at_least("max_consecutive_failed_trials", max_consecutive_failed_trials, 1)
        self._keep_models = None if keep_models is None else _at_least("keep_models", keep_models, 0)
        if max_trials is not None:
            _at_least("max_trials", max_trials, 1)
        if pruner is not None and executions_per_trial > 1:
            raise InvalidArgument(
                f"executions_per_trial={executions_per_trial} cannot be combined with a pruner, which judges the "
                f"epochs of one training; leave one of them out"
            )
        if not (tune_new_entries and allow_new_entries) and hyperparameters is None:
            raise InvalidArgument("tune_new_entries=False and allow_new_entries=False need hyperparameters=")
        if saver is not None:
            saver_for(None, saver)
        self._saver = saver
        self._seed = seed
        self._tune_new, self._allow_new = tune_new_entries, allow_new_entries
        self._callbacks, self._loggers = list(callbacks or ()), loggers
        self._verbose = verbose
        self._epochs: int | None = None
        self._clock = SystemClock()
        self._study: Study | None = None
        self._analysis: ExperimentAnalysis | None = None
        folder = folder_of(project_name or "untitled_project", directory, self.hypermodel, self._clock)
        self._project = Project(folder, self.objective)
        if overwrite:
            self._project.delete()
        self._given = None if hyperparameters is None else hyperparameters.copy()
        self._space = self._discovered(self._given)
        stored = self._project.check(self._space)
        if stored is not None:
            self._space.merge(stored)
            self._say(f"Going on with the project in {folder} ({self._counts()}); overwrite=True starts anew\n")

    def _discovered(self, given: HyperParameters | None) -> HyperParameters:
        """The space that building declares, and nothing else where new entries are not tuned."""
        start = HyperParameters() if given is None else given.copy()
        start.override()
        names = {(parameter.name, parameter.conditions) for parameter in start.space}

        def build(hp: HyperParameters) -> None:
            declare = getattr(self.hypermodel, "declare_hyperparameters", None)
            if declare is not None:
                declare(hp)
            model = self.hypermodel.build(hp)
            release = getattr(saver_for(model, self._saver), "release", None)
            if release is not None:
                release()

        found = discover(build, start)
        new = [parameter.name for parameter in found.space if (parameter.name, parameter.conditions) not in names]
        if new and not self._allow_new:
            raise InvalidArgument(
                f"allow_new_entries=False, but build declares {', '.join(new)}, which hyperparameters= does not hold"
            )
        return found if self._tune_new else start

    # Searching

    def search(self, *args: Any, n_jobs: int = 1, resources: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        """Tries configurations until ``max_trials`` are done. Called again, it goes on.

        Args:
            args: passed on to ``fit``.
            n_jobs: trials at a time; more than one run in worker processes, -1 for as many as the machine has room for.
            resources: of each trial, ``{"cpu": 1, "gpu": 0.5}``; needs processes.
            kwargs: passed on to ``fit``. ``callbacks`` are copied for each training; ``verbose`` counts here too.

        Raises:
            TrialsFailed: too many trials in a row failed.
            InvalidArgument: ``fit`` breaks a rule: it returns nothing, say, or declares a name in two ways.
            MetricMissing: the objective was never among ``logs`` or what ``fit`` returned.
        """
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0 or n_jobs < -1:
            raise InvalidArgument(f"n_jobs={n_jobs!r} must be >= 1, or -1 for as many as the machine has room for")
        verbose = kwargs.get("verbose", self._verbose)
        is_silent = self._verbose == 0 or verbose == 0
        ranking = self._ranking()
        recorder = Recorder(self._project, self._space, ranking, self._keep_models, self._max_failed)
        listeners: list[Any] = [recorder]
        if not is_silent:
            listeners.append(Progress(self.objective, ranking, self._clock))
        trainable = HyperTrainable(
            self.hypermodel,
            self.objective,
            self._space,
            args=args,
            kwargs=kwargs,
            executions=self._executions,
            saver=self._saver,
            saves_best=self._keep_models != 0,
            epochs=self._epochs,
            given=self._given,
            tune_new=self._tune_new,
            allow_new=self._allow_new,
            how_to_resume=f"the same script; the project is in {self._project.folder}",
        )
        executor = self._executor(n_jobs, resources)
        self._project.describe(self._space)
        self._analysis = None
        try:
            self._analysis = run(
                trainable,
                metric=self.objective.name,
                mode=self.objective.direction,
                num_samples=-1 if self.max_trials is None else self.max_trials,
                name=self._project.folder.name,
                storage_path=self._project.folder.parent,
                search_alg=self._make_sampler(),
                scheduler=copy.deepcopy(self._pruner),
                max_concurrent_trials=None if n_jobs == -1 else n_jobs,
                resources_per_trial=resources,
                executor=executor,
                max_failures=self._max_retries,
                raise_on_failed_trial=False,
                callbacks=[*listeners, *self._callbacks],
                loggers=self._loggers,
                verbose=0,
                resume="auto",
                seed=self._seed,
            )
        finally:
            self._study = recorder.study
            if isinstance(executor, Executor):
                executor.shutdown()
        if recorder.mistake is not None:
            raise recorder.mistake
        if recorder.has_given_up:
            raise TrialsFailed(recorder.errors, self._analysis)

    def _executor(self, n_jobs: int, resources: Mapping[str, float] | None) -> Any:
        """Trials in this process where one at a time will do, else worker processes."""
        if resources is None and n_jobs == 1:
            return "inline"
        if n_jobs == -1:
            return "processes"
        request, available = request_from(resources), machine()
        total = Resources(cpu=max(available.cpu, request.cpu * n_jobs), gpu=available.gpu)
        return ProcessExecutor(total, default_kind="trial")

    def _make_sampler(self) -> Any:
        """The sampler of one search: a sampler of the user's stays as it was given."""
        return copy.deepcopy(self._sampler)

    # Results

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[HyperParameters]:
        """The hyperparameters of the best trials, the best first; ``values`` holds what they were.

        Complete trials go before those that a pruner has stopped. Fewer than ``num_trials`` where there are no more.
        """
        return [self._hyperparameters_of(entry) for entry in self._ranking().best(num_trials)]

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """The models of the best trials as they were at their best epoch, built anew and loaded.

        Raises:
            UsageError: a model among them was not saved, or is not kept any more.
        """
        models = []
        for rank, entry in enumerate(self._ranking().best(num_models)):
            folder = self._project.folder / f"{entry.number:05d}"
            if not (folder / "model").is_dir():
                raise UsageError(
                    f"the model of trial {entry.number}, number {rank + 1} in order, is not there: "
                    f"keep_models={self._keep_models} says how many are kept. Train it again, from "
                    f"tuner.hypermodel.build(tuner.get_best_hyperparameters({rank + 1})[-1])"
                )
            model = self.hypermodel.build(self._hyperparameters_of(entry))
            models.append(load_best(model, folder, self._saver))
        return models

    def _hyperparameters_of(self, entry: Entry) -> HyperParameters:
        return self._space.fresh(entry.values)

    @property
    def study(self) -> Study:
        """The study behind the last search, or the project's as it stands.

        Raises:
            UsageError: nothing was searched yet.
        """
        if self._study is None:
            if not self._project.has_study:
                raise UsageError(f"there is no study in {self._project.folder} yet; call search first")
            self._study = load_study(study_name=None, storage=self._project.folder / "study.log")
        return self._study

    @property
    def analysis(self) -> ExperimentAnalysis:
        """The trials with their results, as ``tune.run`` returns them."""
        if self._analysis is None:
            if not self._project.has_study:
                raise UsageError(f"there are no results in {self._project.folder} yet; call search first")
            self._analysis = ExperimentAnalysis(self._project.folder)
        return self._analysis

    @property
    def project_dir(self) -> str:
        """The project's folder."""
        return str(self._project.folder)

    @property
    def remaining_trials(self) -> int | None:
        """How many trials the next ``search`` would start; None for no limit."""
        if self.max_trials is None:
            return None
        n_new = self.study.n_new if self._project.has_study else 0
        return max(0, self.max_trials - n_new)

    def _ranking(self) -> Ranking:
        return Ranking(self.objective, self.study.get_trials(deepcopy=False) if self._project.has_study else ())

    # Summaries

    def results_summary(self, num_trials: int = 10) -> None:
        """Prints the best trials with their hyperparameters and scores."""
        lines = ["Results summary", f"Results in {self.project_dir}", f"Showing {num_trials} best trials"]
        lines.append(str(self.objective))
        for entry in self._ranking().best(num_trials):
            lines += ["", f"Trial {entry.number:05d} summary", "Hyperparameters:"]
            lines += [f"{name}: {value}" for name, value in entry.values.items()] or ["default configuration"]
            lines.append(f"Score: {entry.score}")
        sys.stdout.write("\n".join(lines) + "\n")

    def search_space_summary(self, extended: bool = False) -> None:
        """Prints the hyperparameters known so far; ``extended`` adds the Optuna parameters that stand for them."""
        lines = ["Search space summary", f"Default search space size: {len(self._space.space)}"]
        for parameter in self._space.space:
            config = parameter.get_config()
            lines += [f"{config.pop('name')} ({type(parameter).__name__})", str(config)]
            if extended:
                lines.append(f"drawn as {self._space.param_name(parameter)!r}")
        sys.stdout.write("\n".join(lines) + "\n")

    def _say(self, text: str) -> None:
        if self._verbose:
            sys.stdout.write(text)

    def _counts(self) -> str:
        trials = self.study.get_trials(deepcopy=False)
        n_ended = sum(1 for trial in trials if trial.state.is_finished())
        left = len(trials) - n_ended
        return f"{n_ended} trials done" + (f", {left} cut or paused" if left else "")


def _at_least(name: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise InvalidArgument(f"{name}={given!r} must be an integer >= {least}")
    return given
