"""The space that is found and what the summaries print, against what KerasTuner 1.4.8 printed for the same code."""

from __future__ import annotations

from typing import Any

import tuneflow as tune

# KerasTuner's own output, copied.
BEFORE = """\
Search space summary
Default search space size: 12
kind (Choice)
{'default': 'mlp', 'conditions': [], 'values': ['mlp', 'cnn'], 'ordered': False}
opt/lr (Float)
{'default': 0.001, 'conditions': [], 'min_value': 0.0001, 'max_value': 0.01, 'step': None, 'sampling': 'log'}
opt/nesterov (Boolean)
{'default': False, 'conditions': []}
layers (Int)
{'default': None, 'conditions': [{'class_name': 'Parent', 'config': {'name': 'kind', 'values': ['mlp']}}], \
'min_value': 1, 'max_value': 3, 'step': 1, 'sampling': 'linear'}
units (Int)
{'default': None, 'conditions': [{'class_name': 'Parent', 'config': {'name': 'kind', 'values': ['mlp']}}, \
{'class_name': 'Parent', 'config': {'name': 'layers', 'values': [2, 3]}}], \
'min_value': 32, 'max_value': 128, 'step': 32, 'sampling': 'linear'}
dropout (Float)
{'default': 0.25, 'conditions': [{'class_name': 'Parent', 'config': {'name': 'kind', 'values': ['mlp']}}, \
{'class_name': 'Parent', 'config': {'name': 'layers', 'values': [3]}}], \
'min_value': 0.0, 'max_value': 0.5, 'step': 0.25, 'sampling': 'linear'}
filters (Int)
{'default': None, 'conditions': [{'class_name': 'Parent', 'config': {'name': 'kind', 'values': ['cnn']}}], \
'min_value': 8, 'max_value': 64, 'step': 2, 'sampling': 'log'}
width (Int)
{'default': None, 'conditions': [{'class_name': 'Parent', 'config': {'name': 'kind', 'values': ['cnn']}}], \
'min_value': 16, 'max_value': 64, 'step': 1, 'sampling': 'linear'}
epochs (Fixed)
{'conditions': [], 'value': 3}
plain (Int)
{'default': None, 'conditions': [], 'min_value': 1, 'max_value': 9, 'step': 1, 'sampling': 'linear'}
mirrored (Float)
{'default': 1.0, 'conditions': [], 'min_value': 1.0, 'max_value': 8.0, 'step': 2, 'sampling': 'reverse_log'}
scale (Choice)
{'default': 2.5, 'conditions': [], 'values': [1.0, 2.5], 'ordered': False}
"""
LATE = """\
late (Choice)
{'default': 4, 'conditions': [], 'values': [4, 5], 'ordered': True}
"""
RESULTS = """\
Results summary
Results in {folder}
Showing 1 best trials
Objective(name="val_loss", direction="min")

Trial {trial} summary
Hyperparameters:
{values}
Score: {score}
"""


class Scoped(tune.HyperModel):
    def build(self, hp: tune.HyperParameters) -> Any:
        hp.Choice("kind", ["mlp", "cnn"])
        with hp.name_scope("opt"):
            hp.Float("lr", 1e-4, 1e-2, sampling="log", default=1e-3)
            hp.Boolean("nesterov")
        with hp.conditional_scope("kind", ["mlp"]):
            hp.Int("layers", 1, 3)
            with hp.conditional_scope("layers", [2, 3]):
                hp.Int("units", 32, 128, step=32)
            with hp.conditional_scope("layers", [3]):
                hp.Float("dropout", 0.0, 0.5, step=0.25, default=0.25)
        with hp.conditional_scope("kind", ["cnn"]):
            hp.Int("filters", 8, 64, step=2, sampling="log")
            hp.Int("width", 16, 64)
        hp.Fixed("epochs", 3)
        hp.Int("plain", 1, 9)
        hp.Float("mirrored", 1, 8, sampling="reverse_log", step=2)
        hp.Choice("scale", [1.0, 2.5], ordered=False, default=2.5)

    def fit(self, hp: tune.HyperParameters, model: Any, *args: Any, callbacks: Any = None, **kwargs: Any) -> float:
        hp.Choice("late", [4, 5])
        return float(hp.get("plain"))


def test_the_space_and_the_summaries(capsys) -> None:
    tuner = tune.RandomSearch(Scoped(), "val_loss", max_trials=8, seed=0, verbose=0)
    tuner.search_space_summary()
    assert capsys.readouterr().out == BEFORE
    tuner.search()
    assert capsys.readouterr().out == ""
    tuner.search_space_summary()
    assert capsys.readouterr().out == BEFORE.replace("size: 12", "size: 13") + LATE
    tuner.results_summary(1)
    best = tuner.get_best_hyperparameters()[0]
    values = "\n".join(f"{name}: {value}" for name, value in best.values.items())
    number = tuner.study.best_trial.number
    expected = RESULTS.format(
        folder=tuner.project_dir, trial=f"{number:05d}", values=values, score=tuner.study.best_value
    )
    assert capsys.readouterr().out == expected
    assert best["epochs"] == 3
    assert best["plain"] == tuner.study.best_value


def test_only_active_hyperparameters_reach_the_sampler() -> None:
    tuner = tune.HyperTuner(Scoped(), "val_loss", max_trials=15, seed=0, verbose=0)
    tuner.search()
    for trial in tuner.study.trials:
        params = set(trial.params)
        assert {"kind", "opt/lr", "opt/nesterov", "plain", "mirrored", "scale", "late"} <= params
        assert ("layers" in params) == (trial.params["kind"] == "mlp") != ("width" in params)
        assert ("units" in params) == (trial.params.get("layers", 0) >= 2)
        assert ("dropout" in params) == (trial.params.get("layers") == 3)


def test_progress_is_printed_in_the_known_form(capsys) -> None:
    tune.RandomSearch(Scoped(), "val_loss", max_trials=2, seed=1).search()
    out = capsys.readouterr().out
    assert "Search: Running Trial #1\n\nValue             |Best Value So Far |Hyperparameter\n" in out
    assert "Trial 2 Complete [00h 00m 00s]\nval_loss: " in out
    assert "\n\nBest val_loss So Far: " in out
    assert "Total elapsed time: 00h 00m 0" in out
