"""A training script as you may have one: run by itself, ``python examples/script_train.py --lr 0.1 --hidden 16``.

``tune_script.py`` tunes it. What it has for that are the lines with ``tuneflow`` in them.
"""

import argparse
import os

import numpy as np

import tuneflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.3)
parser.add_argument("--hidden", type=int, default=16)
parser.add_argument("--epochs", type=int, default=9)
options = parser.parse_args()

trial = tuneflow.get_trial() if "TUNEFLOW_ADDRESS" in os.environ else None  # set where a trial runs this

rng = np.random.default_rng(0)
angle = rng.uniform(0.5, 9, size=600)
label = rng.integers(0, 2, size=600)
points = np.stack([np.cos(angle + np.pi * label), np.sin(angle + np.pi * label)], axis=1) * angle[:, None] / 9
points += rng.normal(0, 0.02, size=points.shape)  # two spirals

weights = {
    "in": rng.normal(0, 2, size=(2, options.hidden)), "in_bias": rng.normal(size=options.hidden),
    "out": rng.normal(0, 0.1, size=options.hidden), "out_bias": np.zeros(1),
}  # fmt: skip
epoch = 0
checkpoint = None if trial is None else tuneflow.get_checkpoint()
if checkpoint is not None:  # the trial was paused, and goes on
    with np.load(checkpoint.path / "state.npz") as state:
        weights = {name: state[name] for name in weights}
        epoch = int(state["epoch"])


def save(folder):
    np.savez(folder / "state.npz", epoch=epoch, **weights)


while epoch < options.epochs:
    epoch += 1
    for batch in np.random.default_rng(epoch).permutation(600).reshape(-1, 20):
        x, y = points[batch], label[batch]
        hidden = np.tanh(x @ weights["in"] + weights["in_bias"])
        error = (1 / (1 + np.exp(-hidden @ weights["out"] - weights["out_bias"])) - y) / len(y)
        back = error[:, None] * weights["out"] * (1 - hidden**2)
        slopes = {"in": x.T @ back, "in_bias": back.sum(0), "out": hidden.T @ error, "out_bias": error.sum()}
        for name, slope in slopes.items():
            weights[name] = weights[name] - options.lr * slope
    hidden = np.tanh(points @ weights["in"] + weights["in_bias"])
    score = hidden @ weights["out"] + weights["out_bias"]
    loss = float(np.logaddexp(0, np.where(label == 1, -score, score)).mean())
    if trial is not None:
        tuneflow.report(loss=loss, epoch=epoch, checkpoint=save)  # comes back only if the trial goes on
    else:
        print(f"epoch {epoch}: loss={loss:.4f}")
