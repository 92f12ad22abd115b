"""Reading an experiment: its best trial, its tables, its report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tuneflow.analysis import frames
from tuneflow.analysis.page import page
from tuneflow.analysis.reading import read_experiment, read_stored_trials, trial_folders
from tuneflow.analysis.records import TrialRecord, lookup, number
from tuneflow.analysis.scopes import Mode, check_mode, check_scope, is_better, score
from tuneflow.errors import InvalidArgument, InvalidArgumentType, UsageError
from tuneflow.moved import lacks_attribute, refuse_unknown

if TYPE_CHECKING:
    import pandas as pd

    from tuneflow.checkpoint import Checkpoint
    from tuneflow.study import Study

__all__ = ["ExperimentAnalysis"]

_COMPARED = ("metric", "mode", "scope")


class ExperimentAnalysis:
    """What an experiment found: one that has ended, that still runs, or whose folder was moved here.

    States are those of the moment when the object was made; results are read from the files when asked for. Nothing in
    the folder is changed.

    Args:
        folder: the experiment's folder, ``storage_path/name``. Every path comes from here, none from what is stored.
        metric: the metric that ``best_*`` go by; that of the experiment without it.
        mode: "min" or "max"; that of the experiment without it.
        errors: exceptions of failed trials by number, of a run in this process; else they are made from ``error.txt``.
        study: the study of a run in this process, for natural configuration values; else ``study.log`` is read.

    Attributes:
        folder: the experiment's folder.
        experiment: what ``experiment.json`` says; empty without one.
        trials: every trial, in order of number.

    Raises:
        ExperimentNotFound: there is no experiment in the folder.
        InvalidArgument: ``mode`` is neither "min" nor "max".

    Example:
        >>> import tuneflow as tune, tempfile
        >>> def train(config):
        ...     return {"loss": (config["x"] - 1) ** 2}
        >>> analysis = tune.run(train, {"x": tune.grid_search([0, 1, 2])}, metric="loss", mode="min",
        ...     storage_path=tempfile.mkdtemp(), executor="inline", verbose=0)
        >>> analysis.best_config
        {'x': 1}
        >>> ExperimentAnalysis(analysis.folder).best_result["loss"]
        0
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        errors: Mapping[int, BaseException] | None = None,
        study: Study | None = None,
        **unknown: NoReturn,
    ) -> None:
        refuse_unknown("ExperimentAnalysis", unknown, ("folder", "metric", "mode"))
        self.folder = Path(folder).expanduser()
        self.experiment = {} if study is not None and not self.folder.is_dir() else read_experiment(self.folder)
        stored = self.experiment.get("metric")
        self._modes = _modes(stored, self.experiment.get("mode"))
        if metric is not None:
            self._modes.update(_modes(metric, mode, self._modes))
        elif mode is not None and isinstance(stored, str):
            self._modes[stored] = check_mode(mode)
        self._metrics = _listed(stored if metric is None else metric)
        self.trials: list[TrialRecord] = self._read_trials(
            errors or {}, study, _listed(metric if stored is None else stored)
        )

    def _read_trials(
        self, errors: Mapping[int, BaseException], study: Study | None, objectives: list[str]
    ) -> list[TrialRecord]:
        name, resources = self.experiment.get("name"), self.experiment.get("resources")
        stored = read_stored_trials(self.folder, name) if study is None else study.optuna.get_trials(deepcopy=False)
        if stored is None:
            found = sorted(trial_folders(self.folder).items())
            return [TrialRecord(number, path, resources=resources) for number, path in found]
        return [
            TrialRecord(
                frozen.number,
                self.folder / f"{frozen.number:05d}",
                frozen,
                objectives=objectives,
                config_of=None if study is None or frozen.number in study.had_other_constants else study.config,
                error=errors.get(frozen.number),
                resources=resources,
            )
            for frozen in stored
        ]

    # The best trial

    @property
    def best_trial(self) -> TrialRecord:
        """The trial with the best last value.

        Raises:
            UsageError: the experiment has no metric, or several; or no trial has a value.
        """
        return self.get_best_trial()

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration of the best trial that was in force when it reported its value."""
        return self.get_best_config()

    @property
    def best_logdir(self) -> str:
        """The folder of the best trial."""
        return self.get_best_logdir()

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The best checkpoint of the best trial; None where it has none."""
        return self.get_best_checkpoint()

    @property
    def best_result(self) -> dict[str, Any]:
        """The last result of the best trial."""
        return self.best_trial.last_result

    @property
    def best_result_df(self) -> pd.DataFrame:
        """``best_result`` as a table of one row, with ``config/...`` and ``logdir``; the index is ``trial_id``."""
        best = self.best_trial
        return frames.table([(best, best.last_result)]).set_index("trial_id")

    def get_best_trial(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", **unknown: NoReturn
    ) -> TrialRecord:
        """The best trial; pruned and failed ones count with what they reported.

        Args:
            metric: a result's key, nested ones joined by ``/``; the experiment's without it.
            mode: "min" or "max"; the experiment's without it.
            scope: which values of a trial are compared: "last", the best of "all", the mean ("avg") or that of the
                last 5 or 10 ("last-5-avg", "last-10-avg").
            unknown: refused, with what to write instead.

        Raises:
            UsageError: no metric is known, or no trial has a value that is a number.
            InvalidArgument: an unknown mode or scope.
        """
        refuse_unknown("analysis.get_best_trial", unknown, _COMPARED)
        name, direction = self._resolve(metric, mode)
        check_scope(scope)
        best: TrialRecord | None = None
        best_score: float | None = None
        for trial in self.trials:
            value = trial.last_value(name) if scope == "last" else score(trial.values(name), scope, direction)
            if is_better(value, best_score, direction):
                best, best_score = trial, value
        if best is None:
            raise UsageError(f"no trial is best: {self._why_none(name)}")
        return best

    def get_best_config(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> dict[str, Any]:
        """The configuration of the best trial that was in force at its best value, or its last for other scopes.

        Population-based training changes a trial's configuration on the way. Arguments as for ``get_best_trial``.
        """
        name, direction = self._resolve(metric, mode)
        best = self.get_best_trial(metric, mode, scope)
        found = [(step, number(lookup(result, name))) for step, result in best.steps()]
        values = [(step, value) for step, value in found if value is not None]
        if not values:
            return best.config
        step, reached = values[-1]
        if scope == "all":
            for at, value in reversed(values):
                if is_better(value, reached, direction) or value == reached:
                    step, reached = at, value
        return best.config_at(step)

    def get_best_logdir(self, metric: str | None = None, mode: str | None = None, scope: str = "last") -> str:
        """The folder of the best trial. Arguments as for ``get_best_trial``."""
        return self.get_best_trial(metric, mode, scope).logdir

    def get_best_checkpoint(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", **unknown: NoReturn
    ) -> Checkpoint | None:
        """The checkpoint of the best trial whose step had the best value, where several are kept; None without any.

        Arguments as for ``get_best_trial``; ``scope`` chooses the trial.
        """
        is_tunes = scope in ("min", "max")  # its order of arguments, which begins with a trial
        refuse_unknown("analysis.get_best_checkpoint", [*unknown, *(["trial"] if is_tunes else [])], _COMPARED)
        name, direction = self._resolve(metric, mode)
        return self.get_best_trial(metric, mode, scope).best_checkpoint(name, direction)

    def _resolve(self, metric: str | None, mode: str | None) -> tuple[str, Mode]:
        if metric is None:
            if not self._metrics:
                raise UsageError(
                    "this experiment has no metric, so no trial is best; pass metric= and mode= to tune.run, or to "
                    "get_best_trial and its siblings"
                )
            if len(self._metrics) > 1:
                raise UsageError(
                    f"this experiment has several metrics ({', '.join(self._metrics)}), so no single trial is best; "
                    f"pass metric= and mode= to get_best_trial and its siblings"
                )
            metric = self._metrics[0]
        if not isinstance(metric, str):
            raise InvalidArgumentType(
                f"metric={metric!r} must be the name of a result; of one trial, trial.best_checkpoint(metric, mode)"
            )
        if mode is not None:
            return metric, check_mode(mode)
        if metric not in self._modes:
            raise UsageError(f"metric={metric!r} needs mode='min' or mode='max'; the experiment does not say which")
        return metric, self._modes[metric]

    def _why_none(self, metric: str) -> str:
        if not self.trials:
            return "the experiment has no trials yet"
        keys = sorted({key for trial in self.trials[:100] for key in frames.flat(trial.last_result)})
        if metric in keys:
            return f"every trial's {metric!r} is NaN or no number"
        return f"no trial reported {metric!r}; the results hold: {', '.join(keys) or 'nothing'}"

    # Tables

    @property
    def results_df(self) -> pd.DataFrame:
        """The last result of each trial: ``dataframe()`` with ``trial_id`` as its index."""
        return self.dataframe().set_index("trial_id")

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """One row per trial that has a result, in order of number.

        Args:
            metric: takes the result with the best value of it; without ``metric`` and ``mode`` the last one.
            mode: "min" or "max"; the experiment's without it.

        Returns:
            The results' keys, nested ones joined by ``/``; ``config/...``, secrets masked; ``trial_id``, ``logdir``.

        Raises:
            UsageError: there are results, and none holds ``metric``; or it needs a mode.
        """
        if metric is None and mode is None:
            return frames.table([(trial, trial.last_result) for trial in self.trials if trial.last_result])
        name, direction = self._resolve(metric, mode)
        rows = [(trial, trial.best_result(name, direction)) for trial in self.trials if trial.last_result]
        if rows and all(number(lookup(result, name)) is None for _, result in rows):
            raise UsageError(f"no row is best: {self._why_none(name)}")
        return frames.table(rows)

    @property
    def trial_dataframes(self) -> dict[str, pd.DataFrame]:
        """All results of each trial by ``trial_id``, in order of number; read anew at every call."""
        return {trial.trial_id: frames.history(trial.results) for trial in self.trials}

    # The whole

    def stats(self) -> dict[str, Any]:
        """Counts and times.

        Returns:
            ``n_trials``; ``states`` and ``statuses``, each with their counts; ``time_total_s``, the training time
            of all trials together; ``wall_time_s`` from the first trial's start to the last one's end so far,
            ``start_time`` and ``end_time``, ISO 8601 in local time, None where no trial started or ended.
        """
        frozen = [trial.frozen for trial in self.trials if trial.frozen is not None]
        starts = [entry.datetime_start for entry in frozen if entry.datetime_start is not None]
        ends = [entry.datetime_complete for entry in frozen if entry.datetime_complete is not None]
        times = [trial.last_result.get("time_total_s") for trial in self.trials]
        return {
            "n_trials": len(self.trials),
            "states": dict(Counter(trial.state for trial in self.trials)),
            "statuses": dict(Counter(trial.status for trial in self.trials)),
            "time_total_s": sum(time for time in times if isinstance(time, (int, float))),
            "wall_time_s": (max(ends) - min(starts)).total_seconds() if starts and ends else None,
            "start_time": min(starts).isoformat() if starts else None,
            "end_time": max(ends).isoformat() if ends else None,
        }

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that needs nothing else: the best trial, the metric by trial and by iteration, a table.

        Args:
            path: the file; its folder must exist.

        Returns:
            The file.
        """
        target = Path(path)
        target.write_text(page(self), encoding="utf-8")
        return target

    @property
    def metrics(self) -> dict[str, Mode]:
        """The experiment's metrics with their modes; empty without one."""
        return {name: self._modes[name] for name in self._metrics if name in self._modes}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise lacks_attribute(self, name, "ExperimentAnalysis")

    def __repr__(self) -> str:
        return f"ExperimentAnalysis({str(self.folder)!r}, {len(self.trials)} trials)"


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _modes(metric: Any, mode: Any, known: Mapping[str, Mode] | None = None) -> dict[str, Mode]:
    """The mode of each metric, as far as they say."""
    if metric is None:
        return {}
    names = _listed(metric)
    if mode is None:
        return {name: known[name] for name in names if known and name in known}
    modes = [mode] * len(names) if isinstance(mode, str) else list(mode)
    if len(modes) != len(names):
        raise InvalidArgument(f"{len(names)} metric(s) and {len(modes)} mode(s) were given; give one for each")
    return {name: check_mode(one) for name, one in zip(names, modes, strict=True)}
