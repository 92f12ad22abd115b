"""What an experiment found, read from its folder and in the process that ran it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.analysis import ExperimentAnalysis
from tuneflow.errors import (
    ExperimentNotFound,
    InvalidArgument,
    InvalidArgumentType,
    TrialFailed,
    UsageError,
)
from tuneflow.pruners import ASHA, PBT, Exploit

LOSSES = [[0.5, 0.4], [0.1, 0.6], [0.45, 0.3], [0.9]]


@pytest.fixture
def folder(write_experiment):
    trials = [
        {
            "config": {"x": n, "net": {"width": 16 * n}},
            "results": [{"loss": loss, "val": {"acc": 1 - loss}} for loss in losses],
        }
        for n, losses in enumerate(LOSSES)
    ]
    return write_experiment(trials, metric="loss", mode="min")


# The best trial


def test_best_by_the_last_value(folder):
    analysis = ExperimentAnalysis(folder)
    assert analysis.best_trial.number == 2
    assert analysis.best_config == {"x": 2, "net": {"width": 32}}
    assert analysis.best_result == {"training_iteration": 2, "loss": 0.3, "val": {"acc": 0.7}}
    assert analysis.best_logdir == str(folder / "00002")
    assert analysis.best_checkpoint is None


@pytest.mark.parametrize(
    ("metric", "mode", "scope", "best"),
    [
        (None, None, "last", 2),
        (None, None, "all", 1),
        (None, None, "avg", 1),
        (None, None, "last-5-avg", 1),
        (None, None, "last-10-avg", 1),
        ("loss", "max", "last", 3),
        ("val/acc", "max", "last", 2),
        ("val/acc", "min", "all", 3),
        ("training_iteration", "max", "last", 0),
    ],
)
def test_best_by_scope(folder, metric, mode, scope, best):
    analysis = ExperimentAnalysis(folder)
    assert analysis.get_best_trial(metric, mode, scope).number == best
    assert analysis.get_best_config(metric, mode, scope)["x"] == best
    assert analysis.get_best_logdir(metric, mode, scope) == str(folder / f"{best:05d}")


def test_averages_over_the_last_ones(write_experiment):
    falling = [{"loss": value} for value in (9.0, 9.0, 9.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    level = [{"loss": 1.0}] * 10
    analysis = ExperimentAnalysis(
        write_experiment([{"results": falling}, {"results": level}], metric="loss", mode="min")
    )
    assert analysis.get_best_trial(scope="last-5-avg").number == 0
    assert analysis.get_best_trial(scope="last-10-avg").number == 1


def test_nan_is_never_best(write_experiment):
    nan = math.nan
    trials = [{"results": [{"loss": value} for value in losses]} for losses in ([nan], [0.1, nan], [0.7, 0.8], [0.9])]
    analysis = ExperimentAnalysis(write_experiment(trials, metric="loss", mode="min"))
    assert analysis.best_trial.number == 2
    assert analysis.get_best_trial(scope="all").number == 1
    assert analysis.get_best_trial(mode="max").number == 3


def test_without_a_metric_the_error_says_what_to_do(write_experiment):
    analysis = ExperimentAnalysis(write_experiment([{"results": [{"loss": 0.5}]}], metric=None, mode=None))
    for name in ("best_trial", "best_config", "best_result", "best_logdir", "best_checkpoint", "best_result_df"):
        with pytest.raises(UsageError, match=r"has no metric.*pass metric= and mode="):
            getattr(analysis, name)
    assert analysis.get_best_trial("loss", "min").number == 0
    with pytest.raises(UsageError, match="needs mode='min' or mode='max'"):
        analysis.get_best_trial("loss")
    assert ExperimentAnalysis(analysis.folder, "loss", "min").best_trial.number == 0


def test_several_metrics(write_experiment):
    trials = [{"results": [{"a": 1, "b": 2}]}, {"results": [{"a": 0, "b": 1}]}]
    analysis = ExperimentAnalysis(write_experiment(trials, metric=["a", "b"], mode=["min", "max"]))
    with pytest.raises(UsageError, match=r"several metrics \(a, b\)"):
        _ = analysis.best_trial
    assert analysis.get_best_trial("a").number == 1
    assert analysis.get_best_trial("b").number == 0


@pytest.mark.parametrize(
    ("results", "match"),
    [
        ([], "no trial reported 'loss'; the results hold: nothing"),
        ([{"acc": 1.0}], "no trial reported 'loss'; the results hold: acc, training_iteration"),
        ([{"loss": math.nan}], "every trial's 'loss' is NaN"),
        ([{"loss": "low"}], "every trial's 'loss' is NaN or no number"),
    ],
)
def test_no_value_is_best(write_experiment, results, match):
    analysis = ExperimentAnalysis(write_experiment([{"results": results}], metric="loss", mode="min"))
    with pytest.raises(UsageError, match=match):
        _ = analysis.best_trial


def test_wrong_words(folder):
    analysis = ExperimentAnalysis(folder)
    with pytest.raises(InvalidArgument, match="scope='best'"):
        analysis.get_best_trial(scope="best")
    with pytest.raises(InvalidArgument, match="mode='up'"):
        analysis.get_best_trial("loss", "up")
    with pytest.raises(InvalidArgument, match="1 metric\\(s\\) and 2 mode\\(s\\)"):
        ExperimentAnalysis(folder, "loss", ["min", "max"])
    with pytest.raises(ExperimentNotFound):
        ExperimentAnalysis(folder / "gone")


# Checkpoints


def test_the_best_checkpoint_is_that_of_the_best_step(write_experiment):
    losses = [0.9, 0.2, 0.5, 0.2, 0.3]
    trial = {"results": [{"loss": loss} for loss in losses], "checkpoints": [1, 2, 3, 4, 5]}
    analysis = ExperimentAnalysis(write_experiment([trial], metric="loss", mode="min"))
    assert analysis.best_checkpoint.path.name == "checkpoint_000004"
    assert analysis.get_best_checkpoint("loss", "max").path.name == "checkpoint_000001"
    assert analysis.trials[0].checkpoint.path.name == "checkpoint_000005"


def test_without_a_value_at_its_step_the_latest_checkpoint_is_taken(write_experiment):
    trial = {"results": [{"loss": 0.5}], "checkpoints": [7, 9]}
    analysis = ExperimentAnalysis(write_experiment([trial], metric="loss", mode="min"))
    assert analysis.best_checkpoint.path.name == "checkpoint_000009"


def test_checkpoints_go_by_steps_of_the_trials_own(make_study):
    study = make_study()
    trial = study.ask()
    for index, (step, loss) in enumerate([(100, 0.5), (200, 0.1), (300, 0.4)], start=1):
        trial.report({"loss": loss, "training_iteration": index}, step)
        (trial.dir / f"checkpoint_{step:06d}").mkdir()
    study.tell(trial, 0.4)
    study.close()
    assert ExperimentAnalysis(study.folders.root).best_checkpoint.path.name == "checkpoint_000200"


# Tables


def test_tables(folder):
    analysis = ExperimentAnalysis(folder)
    last = analysis.dataframe()
    assert last["loss"].tolist() == [0.4, 0.6, 0.3, 0.9]
    assert last["config/net/width"].tolist() == [0, 16, 32, 48]
    assert last["val/acc"].tolist()[0] == 0.6
    assert last["logdir"].tolist() == [str(folder / f"0000{n}") for n in range(4)]
    assert last["trial_id"].tolist() == ["00000", "00001", "00002", "00003"]
    assert analysis.dataframe("loss", "min")["loss"].tolist() == [0.4, 0.1, 0.3, 0.9]
    assert analysis.dataframe("loss", "max")["loss"].tolist() == [0.5, 0.6, 0.45, 0.9]
    assert analysis.dataframe("loss")["loss"].tolist() == [0.4, 0.1, 0.3, 0.9]
    assert analysis.dataframe(mode="max")["loss"].tolist() == [0.5, 0.6, 0.45, 0.9]
    assert analysis.results_df.index.tolist() == ["00000", "00001", "00002", "00003"]
    assert analysis.results_df.loc["00002", "loss"] == 0.3
    assert analysis.best_result_df.index.tolist() == ["00002"]
    assert analysis.best_result_df["config/x"].tolist() == [2]


def test_a_table_by_a_metric_that_nobody_reported_is_refused(folder):
    analysis = ExperimentAnalysis(folder)
    with pytest.raises(UsageError, match=r"no trial reported 'los'; the results hold: .*loss"):
        analysis.dataframe("los", "min")
    assert len(analysis.dataframe("val/acc", "max")) == 4, "one that some have reported orders what it can"


def test_a_trial_in_place_of_a_metric_is_named(folder):
    analysis = ExperimentAnalysis(folder)
    with pytest.raises(InvalidArgumentType, match=r"trial\.best_checkpoint\(metric, mode\)"):
        analysis.get_best_checkpoint(analysis.best_trial, "min")


def test_trial_dataframes_by_id_in_order(folder):
    frames = ExperimentAnalysis(folder).trial_dataframes
    assert list(frames) == ["00000", "00001", "00002", "00003"]
    assert [frame["loss"].tolist() for frame in frames.values()] == LOSSES
    assert frames["00000"]["val/acc"].tolist() == [0.5, 0.6]


def test_trials_without_results_have_no_row(write_experiment):
    folder = write_experiment([{"results": []}, {"results": [{"loss": 1}]}], metric="loss", mode="min")
    analysis = ExperimentAnalysis(folder)
    assert analysis.dataframe()["trial_id"].tolist() == ["00001"]
    assert analysis.trial_dataframes["00000"].empty
    empty = ExperimentAnalysis(write_experiment([], name="empty", metric="loss", mode="min"))
    assert (len(empty.dataframe()), len(empty.results_df), empty.trials) == (0, 0, [])


def test_secrets_do_not_reach_a_table(make_study):
    space = {"x": 1, "net": {"api_key": "sesame"}, "hosts": [{"password": "sesame"}], "db": "pg://me:sesame@host"}
    study = make_study(space)
    trial = study.ask()
    study.tell(trial, trial.report({"loss": 0.5}, 1) and 0.5)
    for analysis in (ExperimentAnalysis(study.folders.root), ExperimentAnalysis(study.folders.root, study=study)):
        assert "sesame" not in analysis.dataframe().to_csv()
    assert analysis.best_config == space, "in the process that ran it"


# States, errors, configurations


def test_states_in_tunes_and_optunas_words(make_study):
    study = make_study(pruner=ASHA(9, reduction_factor=3, promote=True))
    done, failed, pruned, paused, running = (study.ask() for _ in range(5))
    paused.report({"loss": 0.5}, 1, {"any": "state"})
    assert paused.is_paused
    study.tell(done, 0.5)
    study.tell(failed, state=TrialState.FAIL)
    study.tell(pruned, state=TrialState.PRUNED)
    study.enqueue_trial({"x": 0.5})
    study.close()
    analysis = ExperimentAnalysis(study.folders.root)
    assert [(trial.state, trial.status) for trial in analysis.trials] == [
        ("COMPLETE", "TERMINATED"),
        ("FAIL", "ERROR"),
        ("PRUNED", "TERMINATED"),
        ("RUNNING", "PAUSED"),
        ("RUNNING", "RUNNING"),
        ("WAITING", "PENDING"),
    ]
    assert analysis.trials[4].trial_id == "00004"
    assert running.number == 4
    stats = analysis.stats()
    assert stats["n_trials"] == 6
    assert stats["statuses"] == {"TERMINATED": 2, "ERROR": 1, "PAUSED": 1, "RUNNING": 1, "PENDING": 1}
    assert stats["wall_time_s"] >= 0


def test_a_folder_without_its_journal_is_still_readable(write_experiment):
    trials = [
        {"results": [{"loss": 1.0}]},
        {"results": [{"loss": 2.0}], "error": "Attempt 1\nTraceback ...\nValueError: boom\n"},
        {"results": [{"loss": 0.5, "done": True}], "error": "Attempt 1\nValueError: once\n"},
        {},
    ]
    analysis = ExperimentAnalysis(write_experiment(trials, metric="loss", mode="min"))
    assert [trial.state for trial in analysis.trials] == ["COMPLETE", "FAIL", "COMPLETE", "WAITING"]
    assert str(analysis.trials[1].error) == "ValueError: boom"
    assert analysis.trials[2].error is None
    assert analysis.best_trial.number == 2


def test_errors_are_exceptions(make_study):
    study = make_study()
    own = ValueError("boom")
    for number in range(2):
        trial = study.ask()
        (trial.dir / "error.txt").write_text("Attempt 1\nTraceback (most recent call last):\n  ...\nValueError: boom\n")
        study.finish(trial, TrialState.FAIL, reason="ValueError: boom" if number else "")
    study.tell(study.ask(), 0.5)
    study.close()
    analysis = ExperimentAnalysis(study.folders.root, errors={0: own}, study=study)
    assert analysis.trials[0].error is own
    for trial in ExperimentAnalysis(study.folders.root).trials[:2]:
        assert isinstance(trial.error, TrialFailed)
        assert str(trial.error) == "ValueError: boom"
        assert trial.error.trial == trial.number
        assert "Traceback" in trial.error.traceback_text
    assert analysis.trials[2].error is None


def test_a_value_that_was_only_told_counts(make_study):
    study = make_study()
    study.tell(study.ask(), 0.5)
    study.tell(study.ask(), 0.25)
    study.close()
    analysis = ExperimentAnalysis(study.folders.root)
    assert analysis.best_trial.number == 1
    assert analysis.best_result == {"loss": 0.25}
    assert analysis.best_config == study.best_config
    assert analysis.dataframe()["loss"].tolist() == [0.5, 0.25]


def test_the_told_value_outranks_the_last_report(make_study):
    study = make_study()
    for told, reported in ((0.9, 0.1), (0.5, 0.2)):
        trial = study.ask()
        trial.report({"loss": reported}, 1)
        study.tell(trial, told)
    study.close()
    analysis = ExperimentAnalysis(study.folders.root)
    assert analysis.best_trial.number == 1
    assert analysis.get_best_trial(scope="all").number == 0


def test_without_loggers_the_record_is_read(tmp_path):
    def train(config):
        for step in range(3):
            tune.report(loss=config["x"] / (step + 1))

    analysis = tune.run(
        train, {"x": tune.grid_search([3.0, 6.0])}, metric="loss", mode="min", executor="inline", loggers=(),
        storage_path=tmp_path, name="exp", verbose=0,
    )  # fmt: skip
    for read in (analysis, ExperimentAnalysis(tmp_path / "exp")):
        assert read.best_config == {"x": 3.0}
        assert read.trial_dataframes["00001"]["loss"].tolist() == [6.0, 3.0, 2.0]
        assert read.trials[0].last_result == {"loss": 1.0, "training_iteration": 3}


def test_types_are_kept_in_the_process_that_ran_it(make_study):
    class Kind:
        pass

    study = make_study({"kind": tune.choice([Kind]), "sizes": (1, 2), "x": tune.uniform(0, 1)})
    study.tell(study.ask(), 0.5)
    study.close()
    assert ExperimentAnalysis(study.folders.root, study=study).best_config["kind"] is Kind
    assert ExperimentAnalysis(study.folders.root).best_config["kind"] == repr(Kind)


def test_the_configuration_is_that_in_force_at_the_best_value(make_study):
    """Population-based training changes it on the way."""
    study = make_study({"lr": tune.loguniform(1e-4, 1), "seed": 7}, pruner=PBT({"lr": tune.loguniform(1e-4, 1)}, 2, 2))
    good, bad = study.ask(), study.ask()
    first = dict(bad.config)
    changed_at = None
    for step in range(1, 30):
        good.report({"loss": 5.0}, step, {"step": step})
        loss = 6.0 if changed_at is None or step > changed_at + 1 else 1.0
        if isinstance(bad.report({"loss": loss}, step, {"step": step}), Exploit) and changed_at is None:
            changed_at = step
        if changed_at is not None and step > changed_at + 4:
            break
    assert changed_at is not None
    schedule = [(step, config) for step, config, _ in bad.schedule]
    at_best = next(config for step, config in reversed(schedule) if step < changed_at + 1)
    study.tell(good, 5.0)
    study.tell(bad, 0.5)
    study.close()
    for analysis in (ExperimentAnalysis(study.folders.root), ExperimentAnalysis(study.folders.root, study=study)):
        record = analysis.trials[1]
        assert record.config_at(1) == first
        assert record.config_at(changed_at) == first, "the exploit came after that report"
        assert record.config_at(changed_at + 1) == at_best != first
        assert record.config == schedule[-1][1]
        assert record.config_at(schedule[-1][0]) == schedule[-2][1]
        assert record.config["seed"] == 7
        assert analysis.get_best_config("loss", "max", "all") in (first, good.config)
        assert analysis.get_best_config("loss", "min", "all") == at_best


# Running, moved and read-only experiments


def test_a_running_experiment(make_study):
    study = make_study()
    first, second = study.ask(), study.ask()
    first.report({"loss": 0.5}, 1)
    second.report({"loss": 0.4}, 1)
    with (second.dir / "result.json").open("a") as file:
        file.write('{"loss": 0.0')  # the next report, half written
    analysis = ExperimentAnalysis(study.folders.root)
    assert [trial.status for trial in analysis.trials] == ["RUNNING", "RUNNING"]
    assert analysis.best_trial.number == 1
    assert analysis.best_result["loss"] == 0.4
    first.report({"loss": 0.1}, 2)
    study.tell(first, 0.1)
    assert analysis.trials[0].status == "RUNNING", "of the moment when it was read"
    assert ExperimentAnalysis(study.folders.root).best_trial.number == 0


def test_a_folder_moved_elsewhere(make_study, tmp_path):
    study = make_study()
    trial = study.ask()
    trial.report({"loss": 0.5}, 1)
    (trial.dir / "checkpoint_000001").mkdir()
    study.tell(trial, 0.5)
    study.close()
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(study.folders.root, moved)
    shutil.rmtree(study.folders.root)
    analysis = ExperimentAnalysis(moved)
    assert analysis.best_logdir == str(moved / "00000")
    assert analysis.best_checkpoint.path == moved / "00000" / "checkpoint_000001"
    assert analysis.best_result["loss"] == 0.5


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_written(make_study):
    study = make_study()
    study.tell(study.ask(), 0.5)
    study.close()
    before = contents(study.folders.root)
    analysis = ExperimentAnalysis(study.folders.root)
    analysis.stats(), analysis.dataframe(), analysis.best_config, analysis.trial_dataframes
    assert contents(study.folders.root) == before


def test_another_study_in_the_same_journal_is_not_mixed_in(make_study):
    study = make_study()
    study.tell(study.ask(), 0.5)
    other = tune.create_study({"x": 1}, storage=study.folders.root / "study.log", study_name="other", mode="min")
    other.tell(other.ask(), 0.0)
    other.tell(other.ask(), 0.0)
    assert len(ExperimentAnalysis(study.folders.root).trials) == 1


def test_results_are_read_when_asked_for(make_study, monkeypatch):
    study = make_study()
    for loss in (0.5, 0.25, 0.75):
        trial = study.ask()
        trial.report({"loss": loss}, 1)
        study.tell(trial, loss)
    study.close()
    opened: list[str] = []
    read = Path.open

    def spy(self, *args, **kwargs):
        opened.append(self.name)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", spy)
    analysis = ExperimentAnalysis(study.folders.root)
    assert "result.json" not in opened
    del opened[:]
    for _ in range(3):
        assert analysis.best_trial.number == 1
    assert opened == ["result.json"] * 3, "each file once"


def test_the_analysis_of_a_run(tmp_path):
    def train(config):
        for step in range(3):
            tune.report({"loss": config["x"] / (step + 1), "val": {"acc": step}})

    ran = tune.run(
        train, {"x": tune.grid_search([4, 2, 3])}, metric="loss", mode="min", executor="inline", storage_path=tmp_path,
        name="exp", verbose=0,
    )  # fmt: skip
    read = ExperimentAnalysis(tmp_path / "exp")
    for analysis in (ran, read):
        assert analysis.best_config == {"x": 2}
        assert analysis.best_result["val"] == {"acc": 2}
        assert analysis.stats()["states"] == {"COMPLETE": 3}
    assert ran.dataframe().equals(read.dataframe())
    assert json.loads((tmp_path / "exp" / "experiment.json").read_text())["metric"] == "loss"
