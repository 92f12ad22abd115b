"""Population based training against its own members left alone: the same start, the same steps, the same images.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/pbt_digits.py``, shorter with ``--quick``.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.pruners import PBT

N_MEMBERS, N_STEPS = (4, 9) if "--quick" in sys.argv else (8, 25)
SEED = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0


class Digits(tune.Trainable):
    """A small network, SGD with small batches: large rates learn fast at first, small ones are better in the end."""

    def setup(self, config):
        torch.set_num_threads(1)
        pixels, digits = load_digits(return_X_y=True)
        train, rest, *labels = train_test_split(pixels / 16, digits, test_size=0.5, stratify=digits, random_state=0)
        valid, test, *others = train_test_split(rest, labels[1], test_size=0.5, stratify=labels[1], random_state=0)
        self.images, self.valid, self.test = (torch.tensor(x, dtype=torch.float32) for x in (train, valid, test))
        self.labels, self.valid_labels, self.test_labels = map(torch.tensor, (labels[0], *others))
        torch.manual_seed(config["seed"])
        self.model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config["lr"], momentum=0.9)
        self.n_steps = 0

    def loss(self, images, labels):
        return nn.functional.cross_entropy(self.model(images), labels)

    def step(self):
        torch.manual_seed(1000 * self.config["seed"] + self.iteration)  # all see the same images at the same step
        for batch in torch.randperm(len(self.labels)).split(8)[:30]:
            self.optimizer.zero_grad()
            self.loss(self.images[batch], self.labels[batch]).backward()
            self.optimizer.step()
        self.n_steps += 1
        with torch.no_grad():
            valid, test = self.loss(self.valid, self.valid_labels), self.loss(self.test, self.test_labels)
        return {"loss": valid.item(), "test_loss": test.item(), "n_steps": self.n_steps}

    def save_checkpoint(self, folder):
        torch.save([self.model.state_dict(), self.optimizer.state_dict(), self.n_steps], Path(folder) / "state.pt")

    def load_checkpoint(self, folder):
        model, optimizer, self.n_steps = torch.load(Path(folder) / "state.pt")
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.reset_config(self.config)  # the checkpoint's learning rate may be another member's

    def reset_config(self, config):
        self.optimizer.param_groups[0]["lr"] = config["lr"]
        return True


settings = {
    "metric": "loss",
    "mode": "min",
    "num_samples": N_MEMBERS,
    "stop": {"training_iteration": N_STEPS},
    "verbose": 0,
    "seed": SEED,
    "deterministic": True,
}
space = {"lr": tune.loguniform(0.003, 1.0), "seed": SEED}
fixed = tune.run(Digits, space, search_alg="random", **settings)
start = [trial.config for trial in fixed.trials]
# Synchronous: whoever copies another is at the same step, so that nobody's weights are trained for longer than others'.
pbt = PBT(
    {"lr": space["lr"]}, N_MEMBERS, 2, resample_probability=0.0, perturbation_factors=(1.5, 0.5), synchronous=True
)
population = tune.run(Digits, space, scheduler=pbt, points_to_evaluate=start, **settings)

for name, analysis in {"best fixed member": fixed, "best of the population": population}.items():
    result, rate = analysis.best_result, analysis.best_config["lr"]
    print(f"{name}: loss {result['loss']:.4f} after {result['n_steps']} steps, last lr {rate:.4f}; ", end="")
    print(f"held-out loss {result['test_loss']:.4f}")
