"""``tune.run``: a training function, a search space, and trials in worker processes of which the bad ones stop early.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/quickstart.py``, shorter with ``--quick``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.pruners import ASHA

N_TRIALS, N_EPOCHS = (4, 3) if "--quick" in sys.argv else (20, 9)


def train(config):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
    images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    labels, valid_labels = (torch.tensor(part) for part in split[2:])

    model = nn.Sequential(
        nn.Linear(64, config["hidden"]), nn.ReLU(), nn.Dropout(config["dropout"]), nn.Linear(config["hidden"], 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])

    for _ in range(N_EPOCHS):
        model.train()
        for batch in torch.randperm(len(labels)).split(config["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model(valid_images)
        loss = nn.functional.cross_entropy(scores, valid_labels).item()
        accuracy = (scores.argmax(dim=1) == valid_labels).float().mean().item()
        tune.report(loss=loss, accuracy=accuracy)  # comes back only if the trial goes on


analysis = tune.run(
    train,
    {
        "lr": tune.loguniform(1e-4, 1e-1),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
        "hidden": tune.lograndint(16, 256),
        "dropout": tune.uniform(0.0, 0.5),
        "batch_size": tune.choice([16, 32, 64]),
    },
    metric="loss",
    mode="min",
    num_samples=N_TRIALS,
    scheduler=ASHA(max_resource=N_EPOCHS, reduction_factor=3),
    seed=0,
)
print("best configuration:", analysis.best_config)
print(f"its accuracy on the validation images: {analysis.best_result['accuracy']:.3f}")
print("where everything is:", analysis.best_logdir)
