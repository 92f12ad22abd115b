"""The simulated executor behind study.optimize and tune.run: whole runs in virtual time."""

from __future__ import annotations

import time

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgumentType, TrialsFailed, TrialTimeout
from tuneflow.pruners import ASHA, HyperBand

SPACE = {"x": tune.uniform(0, 1)}
HOUR = 3600.0


def learn(config, step):
    return config["x"] + 1 / step


def optimized(executor, n_trials=None, timeout=None, **kwargs):
    study = tune.create_study(SPACE, sampler="random", seed=1, **kwargs)
    study.optimize(None, n_trials, timeout, executor=executor, show_progress_bar=False)
    return study


def test_optimize_uses_all_workers_of_the_executor():
    executor = tune.SimulatedExecutor(8, learn, HOUR, max_steps=3)
    study = optimized(executor, n_trials=16)
    assert executor.clock.monotonic() == 2 * 3 * HOUR
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert study.best_value == pytest.approx(min(trial.params["x"] for trial in study.trials) + 1 / 3)


def test_fewer_jobs_than_workers():
    executor = tune.SimulatedExecutor(8, learn, HOUR, max_steps=3)
    study = tune.create_study(SPACE, sampler="random", seed=1)
    study.optimize(None, 16, n_jobs=2, executor=executor, show_progress_bar=False)
    assert executor.clock.monotonic() == 8 * 3 * HOUR


def test_a_timeout_is_virtual():
    executor = tune.SimulatedExecutor(4, learn, HOUR, max_steps=10)
    began = time.monotonic()
    study = optimized(executor, timeout=25 * HOUR)
    assert time.monotonic() - began < 60
    assert executor.clock.monotonic() == 25 * HOUR
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 8 + ["PRUNED"] * 4
    study.optimize(None, timeout=5 * HOUR, executor=executor, show_progress_bar=False)
    assert executor.clock.monotonic() == 30 * HOUR  # the clock goes on


def test_the_trainable_may_be_the_curve():
    study = tune.create_study(SPACE, sampler="random", pruner=HyperBand(9), seed=1)
    study.optimize(learn, n_trials=30, executor=tune.SimulatedExecutor(4), show_progress_bar=False)
    assert all(trial.state.is_finished() for trial in study.trials)
    with pytest.raises(InvalidArgumentType, match="needs a curve"):
        study.optimize(None, n_trials=1, executor=tune.SimulatedExecutor(4), show_progress_bar=False)


def run(tmp_path, trainable, executor, num_samples=6, **kwargs):
    return tune.run(
        trainable, SPACE, metric="loss", mode="min", num_samples=num_samples, executor=executor, seed=1, verbose=0,
        storage_path=tmp_path, search_alg="random", **kwargs,
    )  # fmt: skip


def test_tune_run_without_a_trainable(tmp_path):
    executor = tune.SimulatedExecutor(2, learn, HOUR, max_steps=27)
    analysis = run(tmp_path, None, executor, num_samples=20, scheduler=ASHA(27, reduction_factor=3, promote=True))
    assert len(analysis.trials) == 20
    assert executor.clock.monotonic() < 10 * 27 * HOUR / 2
    last = analysis.best_result
    assert last["training_iteration"] == 27
    assert last["time_total_s"] == 27 * HOUR  # of training, pauses left out
    assert HOUR <= last["timestamp"] <= executor.clock.monotonic()


def test_tune_run_by_name(tmp_path):
    def curve(config, step, rng):
        return {"loss": learn(config, step) + 0.01 * rng.random(), "step": step}

    analysis = run(tmp_path, curve, "simulated", stop={"step": 4})
    assert [trial.last_result["step"] for trial in analysis.trials] == [4] * 6


def test_limits_of_tune_run_are_virtual(tmp_path):
    slow = tune.SimulatedExecutor(3, learn, lambda config, step: 10 * HOUR * config["x"], max_steps=3)
    with pytest.raises(TrialsFailed) as failed:
        run(tmp_path / "slow", None, slow, trial_timeout_s=12 * HOUR)
    trials = failed.value.analysis.trials
    assert {trial.number for trial in trials if trial.config["x"] > 0.4} == set(failed.value.errors)
    assert all(isinstance(error, TrialTimeout) for error in failed.value.errors.values())
    budget = tune.SimulatedExecutor(2, learn, HOUR, max_steps=10)
    run(tmp_path / "budget", None, budget, num_samples=-1, time_budget_s=35 * HOUR)
    assert budget.clock.monotonic() == 35 * HOUR


def test_dropped_jobs_are_retried_from_their_checkpoints(tmp_path):
    executor = tune.SimulatedExecutor(3, learn, drop_rate=0.05, checkpoint_cost=0.1, max_steps=20, seed=2)
    analysis = run(tmp_path, None, executor, max_failures=-1, checkpoint_freq=2)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 6
    assert [len(frame) for frame in analysis.trial_dataframes.values()] == [20] * 6
    assert executor.clock.monotonic() > 40
