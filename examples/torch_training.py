"""A plain PyTorch training script as trials: the loop ``epochs`` saves, resumes, reports and ends.

Good trials are continued where they were paused, without repeating an epoch. Needs ``pip install 'tuneflow[demo]'``.
Run it with ``python examples/torch_training.py``, shorter with ``--quick``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
from tuneflow.pruners import ASHA
from tuneflow_integrations.torch import MixedPrecision, epochs

N_TRIALS, N_EPOCHS = (4, 4) if "--quick" in sys.argv else (16, 16)


def data(batch_size):
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
    images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    labels, valid_labels = (torch.tensor(part) for part in split[2:])
    training = DataLoader(TensorDataset(images, labels), batch_size, shuffle=True)
    return training, DataLoader(TensorDataset(valid_images, valid_labels), 256)


def train(config):
    trial = tune.get_trial()
    trial.seed_everything()
    torch.set_num_threads(1)
    loader, valid = data(config["batch_size"])
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(config["dropout"]), nn.Linear(64, 10))
    model.to(trial.device)  # "cpu", or the GPU that this trial was given
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_EPOCHS)
    precision = MixedPrecision(trial.device, None if trial.device != "cpu" else "float32")

    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "precision": precision}
    for epoch in epochs(None, N_EPOCHS, **state):
        model.train()
        for images, labels in loader:
            with precision.autocast():
                loss = nn.functional.cross_entropy(model(images.to(trial.device)), labels.to(trial.device))
            precision.step(loss, optimizer, clip_norm=1.0)
        scheduler.step()
        model.eval()
        with torch.no_grad():
            found = [(model(images.to(trial.device)).argmax(1).cpu() == labels).float() for images, labels in valid]
        epoch.report(accuracy=torch.cat(found).mean(), epoch_of_weights=scheduler.last_epoch)


if __name__ == "__main__":
    analysis = tune.run(
        train,
        {
            "lr": tune.loguniform(1e-4, 1e-1),
            "dropout": tune.uniform(0.0, 0.5),
            "batch_size": tune.choice([16, 32, 64]),
        },
        metric="accuracy",
        mode="max",
        num_samples=N_TRIALS,
        scheduler=ASHA(max_resource=N_EPOCHS, reduction_factor=4, promote=True),
        executor="inline" if "--quick" in sys.argv else "processes",
        seed=0,
        verbose=0,
    )
    for trial in analysis.trials:
        result = trial.last_result
        n_epochs = result["epoch_of_weights"]
        print(f"trial {trial.trial_id}: accuracy {result['accuracy']:.3f} after {n_epochs} epochs")
    print("best configuration:", analysis.best_config)
