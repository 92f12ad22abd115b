"""``TuneSearchCV`` is a scikit-learn search: fit, predict, cv_results_, and partial fits that can be stopped."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.datasets import load_iris, make_regression
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, SGDClassifier
from sklearn.model_selection import GroupKFold, RandomizedSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tuneflow as tune
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners import ASHA, PBT
from tuneflow_integrations.sklearn import TuneSearchCV

X, Y = load_iris(return_X_y=True)


class Counting(ClassifierMixin, BaseEstimator):
    """Gets better by ``rate`` with each partial fit."""

    def __init__(self, rate=0.1):
        self.rate = rate

    def fit(self, X, y):
        raise NotImplementedError

    def partial_fit(self, X, y, classes=None):
        self.classes_ = classes
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def score(self, X, y):
        return self.rate * self.n_fits_


def test_the_search_scores_as_scikit_learn_does():
    pipeline = make_pipeline(StandardScaler(), SVC(random_state=0))
    space = {"svc__C": tune.loguniform(0.01, 100), "svc__kernel": tune.choice(["rbf", "linear"])}
    search = TuneSearchCV(pipeline, space, n_trials=4, cv=3, random_state=1).fit(X, Y)
    results = search.cv_results_
    assert len(results["params"]) == 4
    for row, params in enumerate(results["params"]):
        scores = cross_val_score(clone(pipeline).set_params(**params), X, Y, cv=3)
        assert [results[f"split{split}_test_score"][row] for split in range(3)] == pytest.approx(list(scores))
        assert results["mean_test_score"][row] == pytest.approx(scores.mean())
        assert results["std_test_score"][row] == pytest.approx(scores.std())
        assert results["param_svc__C"][row] == params["svc__C"]
    assert search.best_score_ == max(results["mean_test_score"])
    assert results["rank_test_score"][search.best_index_] == 1
    assert search.best_params_ == results["params"][search.best_index_]
    assert (search.predict(X) == search.best_estimator_.predict(X)).all()
    assert search.score(X, Y) > 0.9
    assert (search.n_features_in_, list(search.classes_)) == (4, [0, 1, 2])
    assert not hasattr(search, "predict_proba"), "as the estimator has none"
    again = TuneSearchCV(pipeline, space, n_trials=4, cv=3, random_state=1).fit(X, Y)
    assert again.best_params_ == search.best_params_


def test_it_can_be_cloned_pickled_and_nested():
    search = TuneSearchCV(SVC(), {"C": tune.loguniform(0.1, 10)}, n_trials=2, cv=2, random_state=0)
    assert len(cross_val_score(clone(search), X, Y, cv=2)) == 2
    fitted = search.fit(X, Y)
    for copied in (pickle.loads(pickle.dumps(fitted)), deepcopy(fitted)):
        assert (copied.predict(X) == fitted.predict(X)).all()
        assert (copied.best_params_, copied.best_score_) == (fitted.best_params_, fitted.best_score_)
        assert list(copied.cv_results_) == list(fitted.cv_results_)
        assert not hasattr(copied, "study_")
        assert copied.fit(X, Y).best_params_ == fitted.best_params_
    assert len(fitted.study_.trials) == 2, "the search itself keeps it"


def test_a_search_with_a_pruner_is_pickled():
    search = TuneSearchCV(
        Counting(), {"rate": tune.uniform(0, 1)}, n_trials=3, cv=2, pruner=ASHA(max_resource=3), max_iters=3
    ).fit(X, Y)
    assert pickle.loads(pickle.dumps(search)).best_params_ == search.best_params_


def test_it_is_what_its_estimator_is():
    space = {"C": tune.choice([1.0])}
    search = TuneSearchCV(SVC(), space, n_trials=1, cv=2, refit=False)
    assert is_classifier(search)
    assert not is_regressor(search)
    assert is_regressor(TuneSearchCV(Ridge(), {}))
    assert not is_classifier(TuneSearchCV(Ridge(), {}))
    search.fit(X, Y)
    assert not hasattr(search, "classes_")
    assert not hasattr(search, "n_features_in_")
    # The rows are sorted by class: folds that are not stratified would train on two classes and score on the third.
    assert cross_val_score(TuneSearchCV(SVC(), space, n_trials=1, cv=2), X, Y, cv=3).min() > 0.9


def test_what_a_randomized_search_offers_is_there():
    frame, labels = load_iris(return_X_y=True, as_frame=True)
    theirs = RandomizedSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-6]}, n_iter=2, cv=3).fit(frame, labels)
    ours = TuneSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-6]}, n_trials=2, cv=3).fit(frame, labels)
    missing = {name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)}
    settings = set(theirs.get_params(deep=False)) - set(ours.get_params(deep=False))
    # scikit-learn's routing of metadata and its callbacks, which newer versions have, are not supported.
    assert missing - settings <= {"get_metadata_routing", "set_fit_request", "set_score_request", "set_callbacks"}
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_)
    assert ours.predict_log_proba(frame).shape == (150, 3)
    assert ours.refit_time_ > 0
    assert not hasattr(ours, "inverse_transform")
    pca = TuneSearchCV(PCA(), {"n_components": [2, 3]}, n_trials=2, cv=3).fit(frame)
    assert pca.inverse_transform(pca.transform(frame)).shape == (150, 4)
    assert pca.score_samples(frame).shape == (150,)


def test_regression_with_a_scoring():
    inputs, targets = make_regression(60, 3, noise=1.0, random_state=0)
    space = {"alpha": tune.loguniform(1e-3, 100)}
    search = TuneSearchCV(Ridge(), space, n_trials=5, scoring="neg_mean_squared_error", random_state=0)
    search.fit(inputs, targets)
    assert search.best_score_ < 0
    assert search.score(inputs, targets) < 0
    assert search.best_params_["alpha"] == min(params["alpha"] for params in search.cv_results_["params"])


@pytest.mark.parametrize("promote", [False, True])
def test_partial_fits_are_stopped_and_paused(promote):
    """ASHA ends bad candidates early; a paused one goes on with the model that it had."""
    space = {"rate": tune.choice([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])}
    pruner = ASHA(max_resource=9, reduction_factor=3, promote=promote)
    search = TuneSearchCV(Counting(), space, n_trials=9, cv=2, pruner=pruner, max_iters=9, random_state=3).fit(X, Y)
    n_iters, rates = search.cv_results_["n_iters"], [params["rate"] for params in search.cv_results_["params"]]
    assert search.cv_results_["mean_test_score"] == pytest.approx(np.array(rates) * n_iters), "no step is done twice"
    assert set(n_iters) <= {1, 3, 9}
    assert {1, 9} <= set(n_iters)
    assert set(search.cv_results_["state"]) == {"COMPLETE", "PRUNED"}
    assert search.best_estimator_.n_fits_ == 9
    assert list(search.best_estimator_.classes_) == [0, 1, 2]


class Sinking(Counting):
    """Gets worse with each partial fit, so that stopped candidates end with the best scores; a rate of 9 raises."""

    def score(self, X, y):
        if self.rate == 9 and self.n_fits_ == 2:
            raise ArithmeticError("too fast")
        return self.rate - 10 * self.n_fits_


@pytest.mark.parametrize("max_iters", [None, 2])
def test_values_per_sample_are_split_as_the_rows_are(max_iters):
    weights = np.arange(len(X), dtype=float)
    groups = np.arange(len(X)) % 5

    class Seeing(Counting):
        def fit(self, X, y, sample_weight=None, note=None):
            assert note == "whole"
            assert (sample_weight == X[:, 0]).all()
            return super().partial_fit(X, y, np.unique(y))

        def partial_fit(self, X, y, classes=None, sample_weight=None, note=None):
            return self.fit(X, y, sample_weight, note)

        def score(self, X, y):
            return float(len(set(X[:, 0] % 5)))

    search = TuneSearchCV(
        Seeing(), {"rate": tune.choice([1.0])}, n_trials=1, cv=GroupKFold(5), max_iters=max_iters, error_score="raise"
    )
    search.fit(weights[:, None], Y, groups=groups, sample_weight=weights, note="whole")
    assert search.n_splits_ == 5
    assert search.best_score_ == 1.0, "each fold holds out one whole group"
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search.fit(X, Y, groups=groups[1:])


def test_ranks_agree_with_the_choice():
    space = {"rate": tune.choice([0.01, 0.02, 0.03, 0.04, 9])}
    pruner = ASHA(max_resource=4, reduction_factor=2)
    search = TuneSearchCV(
        Sinking(), space, n_trials=12, cv=2, pruner=pruner, max_iters=4, random_state=0, error_score=1000.0
    ).fit(X, Y)
    results = search.cv_results_
    scores, ranks, states = results["mean_test_score"], results["rank_test_score"], results["state"]
    assert set(states) == {"COMPLETE", "PRUNED", "FAIL"}
    assert scores[states == "PRUNED"].max() > scores[states == "COMPLETE"].max()
    assert set(scores[states == "FAIL"]) == {1000.0}, "not the score of the step before"
    assert ranks[search.best_index_] == ranks.min() == 1
    assert search.best_score_ == scores[states == "COMPLETE"].max()
    assert ranks[states == "COMPLETE"].max() < ranks[states == "PRUNED"].min()
    assert ranks[states == "PRUNED"].max() < ranks[states == "FAIL"].min()


def test_a_real_partial_fit_in_two_processes():
    space = {"alpha": tune.loguniform(1e-5, 1e-1)}
    pruner = ASHA(max_resource=4, reduction_factor=2)
    search = TuneSearchCV(
        SGDClassifier(random_state=0), space, n_trials=4, cv=3, pruner=pruner, max_iters=4, n_jobs=2, random_state=0
    )
    assert search.fit(X, Y).score(X, Y) > 0.6
    tune.shutdown_workers()


def test_a_candidate_that_raises_has_the_error_score():
    space = {"C": tune.choice([1.0, -1.0])}
    search = TuneSearchCV(SVC(), space, n_trials=6, cv=2, random_state=1, error_score=0.0).fit(X, Y)
    bad = np.array([params["C"] < 0 for params in search.cv_results_["params"]])
    assert bad.any()
    assert not bad.all()
    assert (search.cv_results_["mean_test_score"][bad] == 0.0).all()
    assert search.best_params_ == {"C": 1.0}
    with pytest.raises(ValueError, match="'C' parameter of SVC"):
        TuneSearchCV(SVC(), {"C": tune.choice([-1.0])}, n_trials=1, cv=2, error_score="raise").fit(X, Y)


def test_bad_input_is_found_before_anything_runs():
    with pytest.raises(InvalidArgument, match=r"SVC has no parameter c; it has: .*C"):
        TuneSearchCV(SVC(), {"c": tune.uniform(0, 1)}).fit(X, Y)
    with pytest.raises(InvalidArgument, match="needs max_iters="):
        TuneSearchCV(SVC(), {}, pruner="asha").fit(X, Y)
    with pytest.raises(InvalidArgument, match="needs an estimator with partial_fit; SVC has none"):
        TuneSearchCV(SVC(), {}, max_iters=3).fit(X, Y)
    with pytest.raises(InvalidArgument, match="PBT changes parameters on the way"):
        TuneSearchCV(Counting(), {}, max_iters=3, pruner=PBT({"rate": tune.uniform(0, 1)})).fit(X, Y)
    with pytest.raises(InvalidArgument, match="must be a mapping"):
        TuneSearchCV(SVC(), [{"C": [1.0]}]).fit(X, Y)
    for n_trials in (0, -1, 2.5, None, True):
        with pytest.raises(InvalidArgument, match=r"n_trials=.* at least 1"):
            TuneSearchCV(SVC(), {}, n_trials=n_trials).fit(X, Y)
    for scoring in (["accuracy"], ("accuracy", "f1_macro"), {"a": "accuracy"}):
        with pytest.raises(InvalidArgument, match="several metrics"):
            TuneSearchCV(SVC(), {}, scoring=scoring).fit(X, Y)
    search = TuneSearchCV(SVC(), {"C": tune.uniform(1, 2)}, n_trials=1, cv=2, refit=False)
    with pytest.raises(NotFittedError):
        search.predict(X)
    with pytest.raises(UsageError, match="refit=False"):
        search.fit(X, Y).predict(X)


@pytest.mark.parametrize(
    ("distribution", "instead"),
    [
        (stats.uniform(1, 2), r"\(uniform\).* use tune\.uniform\(loc, loc \+ scale\)"),
        (stats.loguniform(1e-3, 1), r"use tune\.loguniform\(a, b\)"),
        (stats.randint(1, 5), r"use tune\.randint\(low, high\)"),
        (stats.norm(), r"use tune\.randn\(mean, sd\)"),
        (stats.expon(), r"\(expon\).* use a domain such as tune\.uniform"),
    ],
)
def test_scipy_distributions_are_refused_with_what_to_use(distribution, instead):
    with pytest.raises(InvalidArgument, match="C is a scipy distribution.*" + instead):
        TuneSearchCV(SVC(), {"C": distribution}).fit(X, Y)


def test_lists_and_arrays_are_choices():
    space = {"kernel": ["linear", "rbf"], "C": np.array([0.5, 2.0]), "gamma": "scale"}
    search = TuneSearchCV(SVC(), space, n_trials=8, cv=2, random_state=0, error_score="raise").fit(X, Y)
    tried = search.cv_results_["params"]
    assert {params["kernel"] for params in tried} == {"linear", "rbf"}
    assert {params["C"] for params in tried} == {0.5, 2.0}
    assert {params["gamma"] for params in tried} == {"scale"}


@pytest.mark.parametrize("error_score", [float("nan"), 0.0])
def test_a_search_without_any_score_quotes_the_first_error(error_score):
    search = TuneSearchCV(SVC(), {"C": [-1.0]}, n_trials=2, cv=2, error_score=error_score)
    with pytest.raises(UsageError, match=r"the first error: The 'C' parameter of SVC must be"):
        search.fit(X, Y)
