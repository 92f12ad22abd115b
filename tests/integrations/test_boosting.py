"""XGBoost and LightGBM: rounds as steps, stops, pauses, and the metrics' names."""

from __future__ import annotations

import lightgbm
import numpy as np
import optuna
import pytest
import xgboost

import tuneflow as tune
import tuneflow_integrations.lightgbm
import tuneflow_integrations.xgboost
from tuneflow.errors import InvalidArgument, MetricNotLogged

_random = np.random.default_rng(0)
X = _random.normal(size=(200, 5))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
N_ROUNDS = 12


def train_xgboost(trial, config, metric="valid-logloss", **options):
    callback = tuneflow_integrations.xgboost.TuneCallback({"loss": metric}, trial=trial, **options)
    data, valid = xgboost.DMatrix(X[:150], Y[:150]), xgboost.DMatrix(X[150:], Y[150:])
    params = {"objective": "binary:logistic", "eta": config["lr"], "max_depth": 3, "nthread": 1}
    booster = callback.train(params, data, N_ROUNDS, evals=[(valid, "valid")], verbose_eval=False)
    return booster.predict(valid), booster.num_boosted_rounds()


def train_lightgbm(trial, config, metric="valid_0-binary_logloss", **options):
    callback = tuneflow_integrations.lightgbm.TuneCallback({"loss": metric}, trial=trial, **options)
    data = lightgbm.Dataset(X[:150], Y[:150], free_raw_data=False)
    valid = data.create_valid(X[150:], Y[150:])
    params = {
        "objective": "binary", "learning_rate": config["lr"], "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1,
        "verbose": -1, "deterministic": True,
    }  # fmt: skip
    booster = callback.train(params, data, N_ROUNDS, valid_sets=[valid])
    return booster.predict(X[150:]), booster.current_iteration()


@pytest.fixture(params=[train_xgboost, train_lightgbm], ids=["xgboost", "lightgbm"])
def train(request):
    return request.param


def run(train, pruner, **options):
    study = tune.create_study({"lr": 0.3}, metric="loss", mode="min", pruner=pruner)
    n_asked = 0
    while (trial := study.ask(new=not n_asked)) is not None:
        n_asked += 1
        predicted, n_rounds = train(trial, trial.config, **options)
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    return study.trials[0], predicted, n_rounds


def test_paused_and_resumed_equals_never_paused(train, scripted, pause):
    whole, predicted, n_rounds = run(train, scripted())
    assert list(whole.intermediate_values) == list(range(1, N_ROUNDS + 1))
    resumed, others, n_others = run(train, scripted({(0, 4): pause, (0, 12): pause}))
    assert n_rounds == n_others == N_ROUNDS
    assert others == pytest.approx(predicted, abs=1e-6)
    assert resumed.intermediate_values == pytest.approx(whole.intermediate_values, abs=1e-6)


def test_a_stop_ends_the_training(train, scripted, stop):
    trial, _, n_rounds = run(train, scripted({(0, 6): stop}), every=3)
    assert (trial.state.name, n_rounds) == ("PRUNED", 6)
    assert list(trial.intermediate_values) == [3, 6]


def test_inside_a_run_and_with_a_plain_optuna_trial(train, scripted, stop):
    study = tune.create_study({"lr": 0.3}, metric="loss", mode="min", pruner=scripted({(0, 2): stop}))
    study.optimize(lambda trial: train(None, trial.config)[1], n_trials=1, show_progress_bar=False)
    assert study.trials[0].state.name == "PRUNED"

    class Prunes(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return len(trial.intermediate_values) == 3

    plain = optuna.create_study(pruner=Prunes())
    plain.optimize(lambda trial: train(trial, {"lr": trial.suggest_float("lr", 0.1, 0.2)})[1], n_trials=1)
    assert plain.trials[0].state.name == "PRUNED"


def test_bad_input(train):
    trial = tune.create_study({"lr": 0.3}, metric="loss", mode="min").ask()
    with pytest.raises(MetricNotLogged, match=r"metric 'valid-los' was not logged; logged are: valid.*logloss"):
        train(trial, trial.config, metric="valid-los")
    with pytest.raises(InvalidArgument, match="every=0"):
        train(trial, trial.config, every=0)


def test_cross_validation_reports_means():
    trial = tune.create_study({"lr": 0.3}, metric="loss", mode="min").ask()
    callback = tuneflow_integrations.xgboost.TuneCallback({"loss": "test-logloss"}, trial=trial)
    params = {"objective": "binary:logistic", "nthread": 1}
    xgboost.cv(params, xgboost.DMatrix(X, Y), 3, nfold=2, callbacks=[callback])
    assert trial.last_step == 3
    trial = tune.create_study({"lr": 0.3}, metric="loss", mode="min").ask()
    callback = tuneflow_integrations.lightgbm.TuneCallback({"loss": "valid-binary_logloss"}, trial=trial)
    params = {"objective": "binary", "num_threads": 1, "verbose": -1}
    lightgbm.cv(params, lightgbm.Dataset(X, Y), 3, nfold=2, callbacks=[callback])
    assert trial.last_step == 3
