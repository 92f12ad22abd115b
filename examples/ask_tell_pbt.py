"""Population based training in a loop of your own: members pause, go on, and become changed copies of better ones.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/ask_tell_pbt.py``, shorter with ``--quick``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.pruners import PBT, Exploit

N_MEMBERS, N_EPOCHS, INTERVAL = (4, 7, 2) if "--quick" in sys.argv else (8, 25, 3)

torch.set_num_threads(1)
torch.manual_seed(0)
pixels, digits = load_digits(return_X_y=True)
split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
labels, valid_labels = (torch.tensor(part) for part in split[2:])


def build(config, checkpoint):
    """Model and optimizer: new ones or those of ``checkpoint``, with the learning rate and the decay of ``config``."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    if checkpoint is not None:
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    optimizer.param_groups[0].update(config)
    return model, optimizer


def train_epoch(model, optimizer):
    """Trains for one epoch; the loss on the validation images afterwards."""
    for batch in torch.randperm(len(labels)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(valid_images), valid_labels).item()


space = {"lr": tune.loguniform(1e-4, 1.0), "weight_decay": tune.loguniform(1e-6, 1e-2)}
# Synchronous: with one member at a time the others are ahead or behind, and a copy of one ahead trains for longer.
pruner = PBT(space, population_size=N_MEMBERS, perturbation_interval=INTERVAL, synchronous=True)
study = tune.create_study(space, metric="loss", mode="min", pruner=pruner, seed=0)

n_started = 0
while True:
    trial = study.ask(new=n_started < N_MEMBERS)  # a new member, or a paused one whose turn it is
    if trial is None:
        break
    n_started += trial.last_step is None
    # A member that goes on may have become a copy of another while it was paused: the configuration, the checkpoint
    # and the step to go on from are already the right ones.
    model, optimizer = build(trial.config, trial.checkpoint)
    for epoch in range(trial.start_step + 1, N_EPOCHS + 1):
        loss = train_epoch(model, optimizer)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        decision = trial.report({"loss": loss}, epoch, checkpoint=state)
        if decision.should_stop:  # Pause: the study has the checkpoint, others come first. Or Stop
            break
        if isinstance(decision, Exploit):  # only with as many loops as members: there nobody has to pause
            model, optimizer = build(decision.config, decision.checkpoint)
    if not trial.is_paused:
        study.tell(trial, trial.last_value)  # not `loss`: a member that paused after the last epoch has nothing to do
        copies = ", ".join(f"{donor} at {step}" for step, _, donor in trial.schedule[1:])
        print(f"member {trial.number}: loss {trial.last_value:.4f}, copied {copies or 'nobody'}")

print("best configuration:", study.best_config)
print(f"its loss: {study.best_value:.4f}")
