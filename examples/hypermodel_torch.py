"""A HyperModel of a torch module: Hyperband on digits; promoted configurations go on from their weights.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/hypermodel_torch.py``, shorter with ``--quick``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune

N_EPOCHS = 3 if "--quick" in sys.argv else 9


class Digits(tune.HyperModel):
    """A small network; its layers and their sizes are hyperparameters."""

    def build(self, hp):
        torch.manual_seed(0)
        layers, width = [], 64
        for index in range(hp.Int("layers", 1, 2)):
            units = hp.Int(f"units_{index}", 16, 128, step=2, sampling="log")
            layers += [nn.Linear(width, units), nn.ReLU()]
            width = units
        return nn.Sequential(*layers, nn.Linear(width, 10))

    def fit(self, hp, model, train, valid, callbacks=(), initial_epoch=0, epochs=N_EPOCHS):
        optimizer = torch.optim.AdamW(model.parameters(), lr=hp.Float("lr", 1e-4, 1e-1, sampling="log"))
        batch_size = hp.Choice("batch_size", [16, 32, 64])
        images, labels = train
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(initial_epoch, epochs):
            for batch in torch.randperm(len(labels)).split(batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
            for callback in callbacks:  # comes back only if the trial goes on
                callback.on_epoch_end(epoch, logs={"val_accuracy": accuracy(model, valid)})


def accuracy(model, data):
    images, labels = data
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


pixels, digits = load_digits(return_X_y=True)
split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
labels, valid_labels = (torch.tensor(part) for part in split[2:])
train, valid = (images, labels), (valid_images, valid_labels)

tuner = tune.Hyperband(
    Digits(), "val_accuracy", max_epochs=N_EPOCHS, factor=3, seed=0, project_name="digits", overwrite=True
)
tuner.search(train, valid)
tuner.results_summary(3)

n_epochs = sum(len(trial.intermediate_values) for trial in tuner.study.trials)
print(f"epochs: {n_epochs} for {len(tuner.study.trials)} configurations of up to {N_EPOCHS}")
print(f"accuracy of the best model: {accuracy(tuner.get_best_models()[0], valid):.3f}")
