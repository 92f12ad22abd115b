"""An objective written for Optuna, not a line of it changed, in two worker processes with ASHA.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/optuna_objective.py``, shorter with ``--quick``.
"""

import sys

import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.pruners import ASHA

N_TRIALS, N_EPOCHS = (4, 3) if "--quick" in sys.argv else (20, 9)


def objective(trial: optuna.Trial) -> float:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
    images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    labels, valid_labels = (torch.tensor(part) for part in split[2:])

    hidden = trial.suggest_int("hidden", 16, 256, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    batch_size = trial.suggest_categorical("batch_size", [16, 32, 64])
    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10))
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
    )

    loss = float("nan")
    for epoch in range(1, N_EPOCHS + 1):
        model.train()
        for batch in torch.randperm(len(labels)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(valid_images), valid_labels).item()
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


study = tune.create_study(direction="minimize", pruner=ASHA(max_resource=N_EPOCHS, reduction_factor=3), seed=0)
study.optimize(objective, n_trials=N_TRIALS, n_jobs=2)

print("best parameters:", study.best_params)
print(f"their loss: {study.best_value:.3f}")
print(study.trials_dataframe(attrs=("number", "value", "state", "duration")).to_string(index=False))
