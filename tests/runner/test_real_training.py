"""Real training on digits: a trial that was paused and promoted goes on exactly where it stopped.

The trainings draw from all three global generators (torch for the order of the images, NumPy for noise on them, Python
for the choice of a dropped pixel), so that a generator that is not restored shows in the very next loss.
"""

from __future__ import annotations

import copy
import functools
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.pruners import ASHA

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

SPACE = {"lr": tune.loguniform(1e-3, 1.0)}
N_STEPS, N_TRIALS = 9, 6


@functools.cache
def load() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return torch.tensor(pixels[:300] / 16, dtype=torch.float32), torch.tensor(digits[:300])


class Training:
    """A linear model, momentum, and all the state that its losses depend on."""

    def __init__(self, lr: float) -> None:
        torch.set_num_threads(1)
        load()  # first: importing scikit-learn draws from Python's generator
        torch.manual_seed(1)
        np_random().seed(2)
        random.seed(3)
        self.model = torch.nn.Linear(64, 10)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)

    def epoch(self) -> float:
        images, labels = load()
        total = 0.0
        for batch in torch.randperm(len(labels)).split(50):
            noisy = images[batch] + torch.tensor(np_random().normal(0, 0.1, (len(batch), 64)), dtype=torch.float32)
            noisy[:, random.randrange(64)] = 0
            loss = torch.nn.functional.cross_entropy(self.model(noisy), labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": (torch.get_rng_state(), np_random().get_state(), random.getstate()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        of_torch, of_numpy, of_python = state["generators"]
        torch.set_rng_state(of_torch)
        np_random().set_state(of_numpy)
        random.setstate(of_python)

    def save(self, folder: Any) -> None:
        Path(folder, "state").write_bytes(pickle.dumps(self.state()))

    def load(self, folder: Any) -> None:
        self.restore(pickle.loads(Path(folder, "state").read_bytes()))


def np_random() -> Any:
    """NumPy's global generator, which the training under test uses as many users' do."""
    import numpy as np

    return np.random


def train(config: dict[str, float]) -> None:
    training = Training(config["lr"])
    checkpoint, n_done = tune.get_checkpoint(), 0
    if checkpoint is not None:
        training.load(checkpoint.path)
        n_done = int(Path(checkpoint.path, "n_done").read_text())

    def save(folder: Any) -> None:
        training.save(folder)
        Path(folder, "n_done").write_text(str(n_done))

    while n_done < N_STEPS:
        n_done += 1
        tune.report({"loss": training.epoch()}, checkpoint=save)


class Stepwise(tune.Trainable):
    def setup(self, config: dict[str, float]) -> None:
        self.training = Training(config["lr"])

    def step(self) -> dict[str, Any]:
        return {"loss": self.training.epoch(), "done": self.iteration == N_STEPS - 1}

    def save_checkpoint(self, folder: Any) -> None:
        self.training.save(folder)

    def load_checkpoint(self, folder: Any) -> None:
        self.training.load(folder)


@functools.cache
def uninterrupted(lr: float) -> list[float]:
    training = Training(lr)
    return [training.epoch() for _ in range(N_STEPS)]


def check(study: Any, n_resumed: int) -> None:
    """Every learning curve is that of a training on its own, as far as it went."""
    assert n_resumed >= 2, "trials were paused and resumed"
    assert "COMPLETE" in {trial.state.name for trial in study.trials}
    for trial in study.trials:
        curve = trial.intermediate_values
        assert list(curve) == list(range(1, len(curve) + 1))
        assert list(curve.values()) == uninterrupted(trial.params["lr"])[: len(curve)]
    assert {len(trial.intermediate_values) for trial in study.trials} == {1, 3, 9}


def create() -> Any:
    pruner = ASHA(N_STEPS, reduction_factor=3, promote=True)
    return tune.create_study(SPACE, metric="loss", mode="min", pruner=pruner, sampler="random", seed=0)


class Resumes(tune.callbacks.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_trial_resume(self, trial: Any) -> None:
        self.steps.append(trial.start_step)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("trainable", [train, Stepwise])
def test_a_promoted_trial_goes_on_exactly_where_it_paused(trainable: Callable[..., Any], n_jobs: int) -> None:
    study, resumes = create(), Resumes()
    study.optimize(trainable, n_trials=N_TRIALS, n_jobs=n_jobs, callbacks=[resumes], show_progress_bar=False)
    assert set(resumes.steps) <= {1, 3}
    check(study, len(resumes.steps))


@pytest.mark.parametrize("is_function", [False, True])
def test_in_a_loop_of_ones_own(is_function: bool) -> None:
    study, n_new, n_resumed = create(), 0, 0
    while (trial := study.ask(new=n_new < N_TRIALS)) is not None:
        training = Training(trial.config["lr"])
        if trial.checkpoint is None:
            n_new += 1
        else:
            n_resumed += 1
            training.load(trial.checkpoint.path) if is_function else training.restore(trial.checkpoint)
        for step in range(trial.start_step + 1, N_STEPS + 1):
            loss = training.epoch()
            if trial.report({"loss": loss}, step, training.save if is_function else training.state()).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    check(study, n_resumed)


@pytest.mark.parametrize("forgotten", [0, 1, 2])
def test_a_generator_that_is_not_restored_shows(forgotten: int) -> None:
    """The comparison above would notice each of the three."""
    training = Training(0.1)
    for _ in range(3):
        training.epoch()
    state = training.state()
    expected = uninterrupted(0.1)[3]
    resumed = Training(0.1)
    generators = list(state["generators"])
    generators[forgotten] = resumed.state()["generators"][forgotten]
    resumed.restore(copy.deepcopy({**state, "generators": generators}))  # an optimizer keeps the tensors it is given
    assert resumed.epoch() != expected
    resumed.restore(copy.deepcopy(state))
    assert resumed.epoch() == expected
