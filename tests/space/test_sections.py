"""Settings of trackers stand beside the space: the trainable sees them, no record does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.pruners import Continue, Exploit, Pruner
from tuneflow.space.sections import split_sections

SETTINGS = {"project": "p", "api_key": "open sesame", "tags": ["a"]}


def test_a_dict_under_a_trackers_name_is_no_part_of_the_space() -> None:
    space = {"lr": tune.uniform(0, 1), "wandb": SETTINGS}
    assert split_sections(space) == ({"lr": space["lr"]}, {"wandb": SETTINGS})
    assert split_sections({"wandb": True, "net": {"wandb": {"a": 1}}}) == (
        {"wandb": True, "net": {"wandb": {"a": 1}}},
        {},
    )


@pytest.mark.parametrize(
    "section",
    [
        {"project": tune.choice(["a", "b"])},
        {"settings": {"a": [tune.uniform(0, 1)]}},
        {"tags": {"grid_search": [1, 2]}},
    ],
)
def test_settings_cannot_be_searched(section: Any) -> None:
    with pytest.raises(InvalidArgument, match="settings of a tracker"):
        tune.create_study({"x": 1, "wandb": section})


def test_a_study_of_ones_own_keeps_them_apart() -> None:
    study = tune.create_study({"x": tune.randn(), "wandb": SETTINGS}, mode="min", seed=0)
    seen = []
    study.optimize(lambda trial: seen.append(trial.config) or 1.0, n_trials=1)
    assert set(seen[0]) == {"x"}, "an objective's trial has its own configuration alone"
    assert study.sections == {"wandb": SETTINGS}
    assert "sesame" not in json.dumps([study.user_attrs, study.trials[0].user_attrs, study.trials[0].params])


class ToOther(Pruner):
    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        return Exploit(0, {"x": 7}) if (trial, step) == (1, 1) else Continue(save=True)

    def on_end(self, trial: int, state: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


def train(config: dict[str, Any]) -> None:
    for _ in range(2):
        seen = [config["x"], config["wandb"], tune.get_trial().config]
        tune.report({"loss": 1.0, "seen": json.dumps(seen)}, checkpoint=lambda folder: None)


class Net(tune.Trainable):
    def step(self) -> dict[str, Any]:
        seen = [self.config["x"], self.config["wandb"], tune.get_trial().config]
        return {"loss": 1.0, "seen": json.dumps(seen), "done": self.iteration == 1}

    def save_checkpoint(self, folder: Any) -> None: ...

    def load_checkpoint(self, folder: Any) -> None: ...


class Resettable(Net):
    def reset_config(self, config: dict[str, Any]) -> bool:
        return True


@pytest.mark.parametrize("trainable", [train, Net, Resettable])
def test_the_trainable_sees_them_also_after_an_exploit(trainable: Any, tmp_path: Path) -> None:
    analysis = tune.run(
        trainable, {"x": tune.choice([1, 2]), "wandb": SETTINGS}, metric="loss", mode="min", num_samples=2, verbose=0,
        scheduler=ToOther(), executor="inline", storage_path=tmp_path, name="s",
    )  # fmt: skip
    x, settings, config = json.loads(analysis.trials[0].last_result["seen"])
    assert (settings, config) == (SETTINGS, {"x": x})
    assert json.loads(analysis.trials[1].last_result["seen"]) == [7, SETTINGS, {"x": 7}]
    assert "wandb" not in analysis.best_config
    assert all("sesame" not in path.read_text() for path in tmp_path.rglob("*.json") if "result" not in path.name)


def test_a_study_has_one_name_that_no_other_has(tmp_path: Path) -> None:
    kept = {"storage": tmp_path / "s.log", "study_name": "s"}
    study = tune.create_study({"x": 1}, **kept)
    assert study.uid == study.uid == tune.create_study({"x": 1}, load_if_exists=True, **kept).uid
    assert tune.create_study({"x": 1}).uid != study.uid
