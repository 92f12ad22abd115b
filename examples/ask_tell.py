"""Ask and tell: the loop is yours. The study says what to try next and, at every report, who goes on.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/ask_tell.py``, shorter with ``--quick``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.pruners import ASHA

N_TRIALS, N_EPOCHS = (4, 3) if "--quick" in sys.argv else (20, 9)

torch.set_num_threads(1)
torch.manual_seed(0)
pixels, digits = load_digits(return_X_y=True)
split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
labels, valid_labels = (torch.tensor(part) for part in split[2:])


def train_epoch(model, optimizer, batch_size):
    """Trains for one epoch; the loss on the validation images afterwards."""
    model.train()
    for batch in torch.randperm(len(labels)).split(batch_size):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(valid_images), valid_labels).item()


study = tune.create_study(
    {
        "lr": tune.loguniform(1e-4, 1e-1),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
        "hidden": tune.lograndint(16, 256),
        "dropout": tune.uniform(0.0, 0.5),
        "batch_size": tune.choice([16, 32, 64]),
    },
    metric="loss",
    mode="min",
    pruner=ASHA(max_resource=N_EPOCHS, reduction_factor=3),
    seed=0,
)

for _ in range(N_TRIALS):
    trial = study.ask()
    config = trial.config
    model = nn.Sequential(
        nn.Linear(64, config["hidden"]), nn.ReLU(), nn.Dropout(config["dropout"]), nn.Linear(config["hidden"], 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    for epoch in range(1, N_EPOCHS + 1):
        loss = train_epoch(model, optimizer, config["batch_size"])
        decision = trial.report({"loss": loss}, step=epoch)
        if decision.should_stop:
            break
    ended = study.tell(trial, loss)
    print(f"trial {trial.number:2}: loss {loss:.3f} after epoch {epoch}, {ended.state.name.lower()}")

print("best configuration:", study.best_config)
print(f"its loss: {study.best_value:.3f}")
