"""A W&B sweep without a sweep server: the same configuration format, ASHA in place of its early termination.

Runs offline; ``wandb sync wandb/offline-run-*`` shows the runs on the W&B page. To log right there, leave out
``"mode": "offline"`` and give an ``"api_key_file"``. Needs ``pip install 'tuneflow[wandb]'``.
"""

import tuneflow as tune
from tuneflow.callbacks import DEFAULT_LOGGERS
from tuneflow.pruners import ASHA
from tuneflow_integrations.wandb import WandbLogger

sweep = {  # as in a sweep's YAML file
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "momentum": {"min": 0.0, "max": 0.99},
        "nesterov": {"values": [True, False]},
        "start": {"value": -1.0},
    },
    "early_terminate": {"type": "hyperband", "max_iter": 27, "eta": 3},
}


def domain(parameter):
    """The domain that one of the sweep's parameters means."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return tune.choice(parameter["values"])
    make = tune.loguniform if "log" in parameter.get("distribution", "") else tune.uniform
    return make(parameter["min"], parameter["max"])


def train(config):
    """Gradient descent with momentum down Rosenbrock's valley."""
    x, y, dx, dy = config["start"], 2.0, 0.0, 0.0
    for _ in range(sweep["early_terminate"]["max_iter"]):
        for _ in range(20):
            ahead = config["momentum"] if config["nesterov"] else 0.0
            u, v = x + ahead * dx, y + ahead * dy
            dx = config["momentum"] * dx + config["lr"] * (2 * (1 - u) + 400 * u * (v - u * u))
            dy = config["momentum"] * dy - config["lr"] * 200 * (v - u * u)
            x, y = x + dx, y + dy
        tune.report(loss=(1 - x) ** 2 + 100 * (y - x * x) ** 2, x=x, y=y)


if __name__ == "__main__":
    end = sweep["early_terminate"]
    analysis = tune.run(
        train,
        {
            **{name: domain(parameter) for name, parameter in sweep["parameters"].items()},
            "wandb": {"project": "valley", "mode": "offline", "tags": ["sweep"], "excludes": ["timestamp"]},
        },
        metric=sweep["metric"]["name"],
        mode="min" if sweep["metric"]["goal"] == "minimize" else "max",
        num_samples=12,
        search_alg={"bayes": "tpe", "random": "random"}[sweep["method"]],
        scheduler=ASHA(max_resource=end["max_iter"], reduction_factor=end["eta"]),
        loggers=(*DEFAULT_LOGGERS, WandbLogger),
        verbose=0,
        seed=0,
    )
    for trial in analysis.trials:
        n_epochs, loss = len(trial.results), trial.last_result["loss"]
        print(f"{trial.trial_id}: loss {loss:9.4f} after {n_epochs:2} epochs")
    print("best:", analysis.best_config)
    print("one run of W&B per trial: wandb sync wandb/offline-run-*")
