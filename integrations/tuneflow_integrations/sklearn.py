"""scikit-learn: ``TuneSearchCV``, a search like ``RandomizedSearchCV`` with tuneflow's samplers and pruners."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_method_params, check_is_fitted

from tuneflow.creation import create_study
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.space import choice

__all__ = ["TuneSearchCV"]

_INSTEAD_OF_SCIPY = {
    "uniform": "tune.uniform(loc, loc + scale)",
    "loguniform": "tune.loguniform(a, b)",
    "reciprocal": "tune.loguniform(a, b)",
    "randint": "tune.randint(low, high)",
    "norm": "tune.randn(mean, sd)",
}

F = TypeVar("F", bound=Callable[..., Any])
_Base: Any = BaseEstimator
_Mixin: Any = MetaEstimatorMixin


def _if_best_has(name: str) -> Callable[[F], F]:
    """The method is there where the estimator has one of that name: as scikit-learn's own searches do it."""

    def check(self: Any) -> bool:
        getattr(getattr(self, "best_estimator_", self.estimator), name)
        return True

    decorate: Callable[[F], F] = available_if(check)
    return decorate


class TuneSearchCV(_Mixin, _Base):  # type: ignore[misc]
    """Searches an estimator's parameters by cross-validation.

    With ``max_iters`` an estimator that has ``partial_fit`` is trained step by step, and a pruner stops or pauses
    unpromising candidates on the way; a paused one goes on where it was.

    Args:
        estimator: the estimator, a pipeline for instance.
        param_distributions: the space, by scikit-learn's names: ``{"svc__C": tune.loguniform(0.01, 100)}``. A list or
            an array of one dimension is a choice of its values; any other plain value, a tuple too, is fixed.
        n_trials: candidates to try, at least 1.
        scoring: one metric, as in scikit-learn; the estimator's own ``score`` without one.
        cv: as in scikit-learn: folds or a splitter.
        sampler: a name, or an Optuna sampler.
        pruner: a name, or a pruner; needs ``max_iters``.
        max_iters: calls of ``partial_fit`` with all of a fold's training data; None trains by ``fit``.
        n_jobs: candidates at once, each in a process of its own.
        refit: train the best candidate on all data.
        error_score: the score of a candidate that raises, or "raise".
        random_state: seed of the search.

    Attributes:
        best_params_: the best candidate's parameters.
        best_score_: its mean score.
        best_index_: its row in ``cv_results_``.
        best_estimator_: trained on all data, with ``refit``.
        refit_time_: seconds that took.
        scorer_: what scored the candidates.
        n_splits_: number of folds.
        multimetric_: False.
        cv_results_: arrays by column, as scikit-learn's searches have them, and "n_iters" and "state"; complete
            candidates rank before pruned ones, and these before failed ones.
        study_: the study; a pickled, dumped or copied search has none, as it may hold files and locks.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> import tuneflow as tune
        >>> X, y = load_iris(return_X_y=True)
        >>> space = {"max_depth": tune.randint(1, 5)}
        >>> search = TuneSearchCV(DecisionTreeClassifier(random_state=0), space, n_trials=3, cv=3, random_state=0)
        >>> search.fit(X, y).best_score_ > 0.5
        True
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any],
        *,
        n_trials: int = 10,
        scoring: Any = None,
        cv: Any = None,
        sampler: Any = None,
        pruner: Any = None,
        max_iters: int | None = None,
        n_jobs: int = 1,
        refit: bool = True,
        error_score: Any = float("nan"),
        random_state: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.scoring = scoring
        self.cv = cv
        self.sampler = sampler
        self.pruner = pruner
        self.max_iters = max_iters
        self.n_jobs = n_jobs
        self.refit = refit
        self.error_score = error_score
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> TuneSearchCV:  # noqa: N803
        """Runs the search.

        Args:
            X: the inputs, of shape (n_samples, ...).
            y: the targets, of shape (n_samples, ...).
            groups: the group of each sample, of shape (n_samples,), for splitters such as ``GroupKFold``.
            fit_params: handed on to ``fit`` or ``partial_fit``; of those with a value per sample, such as
                ``sample_weight``, each fold gets the rows that it trains on.

        Raises:
            InvalidArgument: a parameter that the estimator lacks, a scipy distribution, several metrics, no trials, or
                a pruner without ``max_iters``.
            UsageError: no candidate has a score; the message quotes the first error.
        """
        self._check()
        X, y, groups = indexable(X, y, groups)  # noqa: N806
        splits = list(check_cv(self.cv, y, classifier=is_classifier(self.estimator)).split(X, y, groups))
        self.scorer_ = check_scoring(self.estimator, self.scoring)
        self.multimetric_ = False
        job = _Job(self.estimator, self.scorer_, X, y, splits, self.max_iters, fit_params)
        study = create_study(
            {name: _domain(name, value) for name, value in self.param_distributions.items()},
            metric="score",
            mode="max",
            sampler=self.sampler,
            pruner=self.pruner,
            seed=self.random_state,
        )
        catch = () if isinstance(self.error_score, str) else (Exception,)
        study.optimize(job, n_trials=self.n_trials, n_jobs=self.n_jobs, catch=catch, show_progress_bar=False)
        self.study_ = study
        self.n_splits_ = len(splits)
        self.cv_results_ = _columns(study, self.n_splits_, self.error_score)
        self._take_best(X, y, fit_params)
        return self

    def _check(self) -> None:
        if not isinstance(self.param_distributions, Mapping):
            raise InvalidArgument(
                f"param_distributions must be a mapping of names to domains, not a "
                f"{type(self.param_distributions).__name__}"
            )
        if isinstance(self.n_trials, bool) or not isinstance(self.n_trials, int | np.integer) or self.n_trials < 1:
            raise InvalidArgument(f"n_trials={self.n_trials!r} must be a whole number of at least 1")
        if isinstance(self.scoring, list | tuple | set | frozenset | Mapping):
            raise InvalidArgument(
                f"scoring={self.scoring!r} has several metrics, and the search goes by one: give one name or scorer, "
                f"and compute the others of best_estimator_ afterwards"
            )
        known = self.estimator.get_params()
        unknown = sorted(set(self.param_distributions) - set(known))
        if unknown:
            raise InvalidArgument(
                f"{type(self.estimator).__name__} has no parameter {', '.join(unknown)}; it has: {', '.join(known)}"
            )
        if self.pruner is not None and self.max_iters is None:
            raise InvalidArgument("pruner= needs max_iters=: only a training of several steps can be stopped")
        if getattr(self.pruner, "needs_checkpoints", False):
            raise InvalidArgument(
                f"{type(self.pruner).__name__} changes parameters on the way, for which cv_results_ has no column; use "
                f"ASHA, HyperBand or MedianStopping"
            )
        if self.max_iters is not None and not hasattr(self.estimator, "partial_fit"):
            raise InvalidArgument(
                f"max_iters={self.max_iters} needs an estimator with partial_fit; {type(self.estimator).__name__} has "
                f"none: leave max_iters out"
            )

    def _take_best(self, inputs: Any, targets: Any, fit_params: dict[str, Any]) -> None:
        scores = np.asarray(self.cv_results_["mean_test_score"])
        if not (np.isfinite(scores) & (self.cv_results_["state"] != "FAIL")).any():
            reasons = [trial.user_attrs.get("tuneflow:reason") for trial in self.study_.trials]
            first = next((reason for reason in reasons if reason), "none was recorded: the scores are not finite")
            raise UsageError(
                f"no candidate has a score; the first error: {first} (error_score='raise' shows where it comes from)"
            )
        self.best_index_ = int(np.argmin(self.cv_results_["rank_test_score"]))
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.best_score_ = float(scores[self.best_index_])
        if self.refit:
            best = clone(self.estimator).set_params(**self.best_params_)
            start_s = time.perf_counter()
            n_iters = int(self.cv_results_["n_iters"][self.best_index_])
            self.best_estimator_ = _train(
                best, inputs, targets, None if self.max_iters is None else n_iters, fit_params
            )
            self.refit_time_ = time.perf_counter() - start_s

    def __getstate__(self) -> dict[str, Any]:
        """All but ``study_``, which holds locks and open storages; ``cv_results_`` and ``best_*`` have the results."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "study_"}

    @property
    def _estimator_type(self) -> str:
        # Scikit-learn before 1.6 asks for this; later ones ask for the tags.
        kind: str = self.estimator._estimator_type
        return kind

    def __sklearn_tags__(self) -> Any:
        # Imported here: scikit-learn has it, and calls this method, from 1.6 on.
        from sklearn.utils import get_tags

        tags, of_estimator = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = of_estimator.estimator_type
        tags.classifier_tags = deepcopy(of_estimator.classifier_tags)
        tags.regressor_tags = deepcopy(of_estimator.regressor_tags)
        tags.input_tags.pairwise = of_estimator.input_tags.pairwise
        tags.input_tags.sparse = of_estimator.input_tags.sparse
        return tags

    @property
    def classes_(self) -> Any:
        """The class labels, of a classifier; AttributeError with ``refit=False``, so that ``hasattr`` is False."""
        return self._attribute("classes_")

    @property
    def n_features_in_(self) -> int:
        """Number of columns seen by ``fit``; AttributeError with ``refit=False``, so that ``hasattr`` is False."""
        return int(self._attribute("n_features_in_"))

    @property
    def feature_names_in_(self) -> Any:
        """Names of the columns seen by ``fit``, where they are strings; AttributeError where there are none."""
        return self._attribute("feature_names_in_")

    def _attribute(self, name: str) -> Any:
        if not self.refit:
            raise AttributeError(f"{name} is the best estimator's, and refit=False trained none")
        return getattr(self._best(), name)

    @_if_best_has("predict")
    def predict(self, X: Any) -> Any:  # noqa: N803
        """``predict`` of the best estimator."""
        return self._best().predict(X)

    @_if_best_has("predict_proba")
    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """``predict_proba`` of the best estimator."""
        return self._best().predict_proba(X)

    @_if_best_has("predict_log_proba")
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """``predict_log_proba`` of the best estimator."""
        return self._best().predict_log_proba(X)

    @_if_best_has("decision_function")
    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """``decision_function`` of the best estimator."""
        return self._best().decision_function(X)

    @_if_best_has("score_samples")
    def score_samples(self, X: Any) -> Any:  # noqa: N803
        """``score_samples`` of the best estimator."""
        return self._best().score_samples(X)

    @_if_best_has("transform")
    def transform(self, X: Any) -> Any:  # noqa: N803
        """``transform`` of the best estimator."""
        return self._best().transform(X)

    @_if_best_has("inverse_transform")
    def inverse_transform(self, X: Any) -> Any:  # noqa: N803
        """``inverse_transform`` of the best estimator."""
        return self._best().inverse_transform(X)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The best estimator's score by ``scoring``."""
        best = self._best()
        return float(check_scoring(best, self.scoring)(best, X, y))

    def _best(self) -> Any:
        check_is_fitted(self, "cv_results_")
        if not self.refit:
            raise UsageError("refit=False trained no best estimator; train one with best_params_, or leave refit out")
        return self.best_estimator_


def _domain(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return choice(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return choice(value.tolist())
    if hasattr(value, "rvs"):
        kind = getattr(getattr(value, "dist", None), "name", type(value).__name__)
        instead = _INSTEAD_OF_SCIPY.get(kind, "a domain such as tune.uniform, tune.loguniform or tune.randint")
        raise InvalidArgument(f"{name} is a scipy distribution ({kind}), which samplers cannot search: use {instead}")
    return value


def _train(estimator: Any, inputs: Any, targets: Any, n_iters: int | None, fit_params: Mapping[str, Any]) -> Any:
    if n_iters is None:
        return estimator.fit(inputs, targets, **fit_params)
    for _ in range(n_iters):
        estimator.partial_fit(inputs, targets, **_with_classes(estimator, targets, fit_params))
    return estimator


def _with_classes(estimator: Any, targets: Any, fit_params: Mapping[str, Any]) -> dict[str, Any]:
    return {"classes": np.unique(targets), **fit_params} if is_classifier(estimator) else dict(fit_params)


class _Job:
    """One candidate: an objective that can be sent to a worker process."""

    def __init__(
        self,
        estimator: Any,
        scorer: Any,
        inputs: Any,
        targets: Any,
        splits: list[Any],
        max_iters: int | None,
        fit_params: Any,
    ) -> None:
        self._estimator, self._scorer, self._data = estimator, scorer, (inputs, targets)
        self._splits, self._max_iters, self._fit_params = splits, max_iters, fit_params

    def __call__(self, trial: Any) -> float:
        spent = [0.0, 0.0]
        if self._max_iters is None:
            models = [clone(self._estimator).set_params(**trial.config) for _ in self._splits]
            scores = self._step(models, spent, lambda model, inputs, targets, more: model.fit(inputs, targets, **more))
            self._note(trial, scores, spent, 1)
            return float(np.mean(scores))
        models = trial.checkpoint or [clone(self._estimator).set_params(**trial.config) for _ in self._splits]
        for step in range(trial.start_step + 1, self._max_iters + 1):
            scores = self._step(models, spent, self._partial_fit)
            self._note(trial, scores, spent, step)
            if trial.report(float(np.mean(scores)), step, checkpoint=models).should_stop:
                break
        value: float = trial.last_value
        return value

    def _partial_fit(self, model: Any, inputs: Any, targets: Any, more: dict[str, Any]) -> None:
        model.partial_fit(inputs, targets, **_with_classes(model, self._data[1], more))

    def _step(self, models: list[Any], spent: list[float], train: Any) -> list[float]:
        inputs, targets = self._data
        scores = []
        for model, (rows, held_out) in zip(models, self._splits, strict=True):
            more = _check_method_params(inputs, self._fit_params, rows)
            start = time.perf_counter()
            train(model, _safe_indexing(inputs, rows), None if targets is None else _safe_indexing(targets, rows), more)
            trained = time.perf_counter()
            held_targets = None if targets is None else _safe_indexing(targets, held_out)
            scores.append(float(self._scorer(model, _safe_indexing(inputs, held_out), held_targets)))
            spent[0] += trained - start
            spent[1] += time.perf_counter() - trained
        return scores

    def _note(self, trial: Any, scores: list[float], spent: list[float], step: int) -> None:
        n = len(self._splits)
        trial.set_user_attr("cv", {"scores": scores, "fit_s": spent[0] / n, "score_s": spent[1] / n, "n_iters": step})


def _ranks(mean: Any, states: list[str]) -> Any:
    """Ranks from 1, equals sharing the best: complete candidates, then pruned, failed and unscored ones.

    Those that ran to their end come first because an early step's score may be an accident.
    """
    keys = [
        (3, 0.0) if not np.isfinite(score) else ({"COMPLETE": 0, "FAIL": 2}.get(state, 1), -score)
        for score, state in zip(mean.tolist(), states, strict=True)
    ]
    return np.array([1 + sum(other < key for other in keys) for key in keys], dtype=np.int32)


def _columns(study: Any, n_splits: int, error_score: Any) -> dict[str, Any]:
    """Scikit-learn's ``cv_results_``: one array per column, one row per trial."""
    missing = float("nan") if isinstance(error_score, str) else float(error_score)
    trials = study.trials
    params = [study.space.to_config(trial.params) for trial in trials]
    states = [trial.state.name for trial in trials]
    # A candidate that raised at a later step has scores of the steps before: it gets error_score all the same.
    notes = [trial.user_attrs.get("cv") for trial in trials]
    rated = [None if state == "FAIL" else note for state, note in zip(states, notes, strict=True)]
    scores = np.array([note["scores"] if note else [missing] * n_splits for note in rated]).reshape(-1, n_splits)
    mean = scores.mean(axis=1)
    columns: dict[str, Any] = {
        "mean_fit_time": np.array([note["fit_s"] if note else 0.0 for note in notes]),
        "mean_score_time": np.array([note["score_s"] if note else 0.0 for note in notes]),
        "params": params,
        "mean_test_score": mean,
        "std_test_score": scores.std(axis=1),
        "rank_test_score": _ranks(mean, states),
        "n_iters": np.array([note["n_iters"] if note else 0 for note in notes]),
        "state": np.array(states),
    }
    for index in range(n_splits):
        columns[f"split{index}_test_score"] = scores[:, index]
    for name in sorted({name for config in params for name in config}):
        values = np.ma.MaskedArray(np.empty(len(params), dtype=object), mask=True)
        for row, config in enumerate(params):
            if name in config:
                values[row] = config[name]
        columns[f"param_{name}"] = values
    return columns
