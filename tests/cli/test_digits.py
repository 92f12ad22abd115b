"""The network that the demonstration tunes: its data, and that a resumed training is the same training."""

from __future__ import annotations

import pytest

import tuneflow as tune
from tuneflow.cli import digits
from tuneflow.pruners import ASHA

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

CONFIG = {
    "lr": 3e-3,
    "weight_decay": 1e-4,
    "optimizer": "adam",
    "momentum": 0.9,
    "batch_size": 64,
    "channels": 8,
    "hidden": 32,
    "dropout": 0.2,
}


def test_the_parts_are_the_whole_and_alike():
    from sklearn.datasets import load_digits

    data = digits.load()
    sizes = [len(labels) for _, labels in data]
    assert sizes == [898, 300, 599]
    whole = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    parts = torch.cat([images.flatten(1) for images, _ in data])
    # Every image exactly once: the same rows in another order.
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, whole.tolist()))
    for images, labels in data:
        assert images.shape[1:] == (1, 8, 8)
        assert 0 <= images.min() < images.max() <= 1
        shares = torch.bincount(labels, minlength=10) / len(labels)
        assert shares.min() > 0.09
        assert shares.max() < 0.11


def test_the_space_fits_the_network():
    study = tune.create_study(digits.SPACE, seed=0)
    for _ in range(5):
        config = study.ask().config
        model = digits.make_model(config)
        digits.make_optimizer(model, config)
        assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def final_loss(pruner) -> tuple[float, int]:
    """The last validation loss of one trial of ``CONFIG``, and how often it was paused."""
    pauses = []

    class Pauses(tune.Callback):
        def on_trial_pause(self, trial):
            pauses.append(trial.last_step)

    study = tune.create_study({**digits.SPACE, "epochs": 4}, metric="val_loss", mode="min", pruner=pruner, seed=0)
    study.enqueue_trial(CONFIG)
    study.optimize(digits.train, n_trials=1, executor="inline", callbacks=[Pauses()])
    return study.best_value, len(pauses)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_pausing_changes_nothing(optimizer, monkeypatch):
    monkeypatch.setitem(CONFIG, "optimizer", optimizer)
    straight, n_pauses = final_loss(None)
    assert n_pauses == 0
    resumed, n_pauses = final_loss(ASHA(max_resource=4, min_resource=2, reduction_factor=2, promote=True))
    assert n_pauses == 1
    assert resumed == straight


def test_retrain_learns():
    accuracy = digits.retrain({**CONFIG, "epochs": 8}, seed=0)
    assert 0.9 < accuracy <= 1
