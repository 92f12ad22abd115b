"""Stop criteria of a run that goes on with an earlier one."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.analysis.history import past_results
from tuneflow.errors import UsageError
from tuneflow.stoppers import CombinedStopper, ExperimentPlateauStopper, MaximumIterationStopper, TimeoutStopper


def returns(config: dict[str, float]) -> dict[str, float]:
    return {"loss": 1.0, "accuracy": config["x"]}


def reports(config: dict[str, float]) -> None:
    for step in range(1, 5):
        tune.report(loss=config["x"] / step, accuracy=step)


def run(trainable: Any, name: str = "e", **given: Any) -> tune.ExperimentAnalysis:
    settings = {"metric": "loss", "mode": "min", "num_samples": 4, "executor": "inline", "verbose": 0, **given}
    return tune.run(trainable, {"x": tune.uniform(0, 1)}, name=name, storage_path="results", seed=1, **settings)


class Heard(tune.Stopper):
    """Stops nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.results: list[tuple[str, float]] = []

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        self.results.append((trial_id, result["accuracy"]))
        return False


def test_a_returned_result_is_heard_too() -> None:
    analysis = run(returns, stop=ExperimentPlateauStopper("loss", top=3, mode="min"), num_samples=10)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3


@pytest.mark.parametrize("metric", ["loss", None])
def test_a_stopper_hears_earlier_results_again_in_their_order(metric: str | None) -> None:
    first, second = Heard(), Heard()
    mode = None if metric is None else "min"
    run(reports, stop=first, num_samples=2, metric=metric, mode=mode)
    run(reports, stop=second, num_samples=3, metric=metric, mode=mode, resume=True)
    assert len(first.results) == 8
    assert second.results[:8] == first.results
    assert len(second.results) == 12


def test_the_order_is_that_of_the_journal_and_lost_lines_hold_the_metric() -> None:
    analysis = run(
        reports, num_samples=3, executor="processes", max_concurrent_trials=3, resources_per_trial={"cpu": 0.3}
    )
    folder = analysis.folder
    study = tune.load_study(study_name=None, storage=folder / "study.log").optuna
    whole = list(past_results(folder, study, "loss"))
    assert len(whole) == 12
    assert all(past.is_whole for past in whole)
    for trial in analysis.trials:
        own = [past.result for past in whole if past.trial_id == trial.trial_id]
        assert own == trial.results
    path = Path(analysis.trials[1].logdir) / "result.json"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    torn = list(past_results(folder, study, "loss"))
    ((index, lost),) = [(index, past) for index, past in enumerate(torn) if not past.is_whole]
    assert lost.result == {"loss": whole[index].result["loss"], "training_iteration": 4}
    assert [past.trial_id for past in torn] == [past.trial_id for past in whole]


def test_a_line_that_was_lost_with_its_driver_fails_no_stop_function() -> None:
    analysis = run(reports, num_samples=1)
    path = Path(analysis.trials[0].logdir) / "result.json"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    assert len(run(reports, num_samples=2, resume=True, stop=lambda _, result: result["accuracy"] > 9).trials) == 2
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))
    assert len(run(reports, num_samples=3, resume=True, stop=Heard()).trials) == 3
    with pytest.raises(UsageError, match="KeyError: 'precision'"):
        run(reports, num_samples=4, resume=True, stop=lambda _, result: result["precision"] > 9)


def test_a_run_that_was_ended_by_a_stopper_goes_on_with_another_one() -> None:
    def stop(top: int) -> Any:
        return ExperimentPlateauStopper("loss", top=top, mode="min")

    assert len(run(returns, stop=stop(2)).trials) == 2
    assert len(run(returns, stop=stop(2), resume=True).trials) == 2
    assert len(run(returns, stop=stop(3), resume=True).trials) == 3
    assert len(run(returns, resume=True).trials) == 4


def test_stoppers_that_look_at_single_results_need_not_hear_them_again() -> None:
    single = [MaximumIterationStopper(3), TimeoutStopper(60)]
    assert not CombinedStopper(*single).looks_back
    assert CombinedStopper(*single, Heard()).looks_back


def dies_at(step: int) -> Any:
    def reports_and_dies(config: dict[str, float]) -> None:
        checkpoint = tune.get_checkpoint()
        start = 0 if checkpoint is None else int((checkpoint.path / "step").read_text())
        for now in range(start + 1, 9):
            tune.report(
                {"loss": 1.0, "done": now == step}, checkpoint=lambda f, now=now: (f / "step").write_text(str(now))
            )

    return reports_and_dies


class Dies(tune.Callback):
    def on_trial_report(self, trial: object, result: dict[str, Any]) -> None:
        if result["done"]:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_trial_that_said_it_was_done_does_not_go_on_after_the_death_of_its_driver() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            run(dies_at(3), num_samples=1, checkpoint_freq=1, callbacks=[Dies()])
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    (trial,) = run(dies_at(99), num_samples=1, checkpoint_freq=1, resume=True).trials
    assert trial.status == "TERMINATED"
    assert len(trial.results) == 3
