"""Two trials at a time on one GPU, each with half of it. Without a GPU: two trials at a time on CPUs.

``trial.device`` says where a trial computes; on a machine with several GPUs two trials go to each. Needs
``pip install 'tuneflow[demo,gpu]'``. Run it with ``python examples/two_half_gpus.py``, shorter with ``--quick``.
"""

import os
import sys

import torch
from torch import nn

import tuneflow as tune
from tuneflow.runner.resources import machine
from tuneflow_integrations.torch import epochs

N_TRIALS, N_EPOCHS = (2, 3) if "--quick" in sys.argv else (8, 20)


def train(config):
    trial = tune.get_trial()
    trial.seed_everything()
    torch.set_num_threads(1)
    inputs = torch.randn(2000, 32, device=trial.device)
    targets = inputs.sin().sum(1, keepdim=True)
    model = nn.Sequential(nn.Linear(32, config["width"]), nn.Tanh(), nn.Linear(config["width"], 1)).to(trial.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    for epoch in epochs(None, N_EPOCHS, model=model, optimizer=optimizer):
        for rows in torch.randperm(len(inputs), device=trial.device).split(100):
            loss = nn.functional.mse_loss(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        epoch.report(loss=loss, device=str(loss.device), visible=visible, pid=os.getpid())


if __name__ == "__main__":
    has_gpu = machine().gpu > 0  # asks the driver, and starts no CUDA here
    share = {"cpu": 1, "gpu": 0.5} if has_gpu else {"cpu": 1}
    print("each trial gets", share)
    analysis = tune.run(
        train,
        {"width": tune.lograndint(16, 256), "lr": tune.loguniform(1e-4, 1e-1)},
        metric="loss",
        mode="min",
        num_samples=N_TRIALS,
        resources_per_trial=share,
        max_concurrent_trials=None if has_gpu else 2,
        seed=0,
        verbose=0,
    )
    for trial in analysis.trials:
        result = trial.last_result
        print(f"trial {trial.trial_id}: loss {result['loss']:.4f} on {result['device']} (visible: {result['visible']})")
    print("best configuration:", analysis.best_config)
