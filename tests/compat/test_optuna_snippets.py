"""Programs in the style of Optuna's tutorials, with ``optuna`` replaced in the import and in ``create_study``."""

from __future__ import annotations

import pytest

SNIPPETS = {
    "first": """
import tuneflow as optuna

def objective(trial):
    x = trial.suggest_float("x", -10, 10)
    return (x - 2) ** 2

study = optuna.create_study()
study.optimize(objective, n_trials=25)
assert set(study.best_params) == {"x"}
assert study.best_value == study.best_trial.value
assert len(study.trials) == 25
study.optimize(objective, n_trials=5)
assert len(study.trials) == 30
""",
    "ask and tell": """
import tuneflow as optuna

study = optuna.create_study(direction="maximize")
n_trials = 10
for _ in range(n_trials):
    trial = study.ask()
    C = trial.suggest_float("C", 1e-7, 10.0, log=True)
    solver = trial.suggest_categorical("solver", ("lbfgs", "saga"))
    study.tell(trial, -abs(C - 1) + (solver == "saga"))
assert len(study.trials) == n_trials
""",
    "define and run": """
import tuneflow as optuna

distributions = {
    "C": optuna.distributions.FloatDistribution(1e-7, 10.0, log=True),
    "solver": optuna.distributions.CategoricalDistribution(("lbfgs", "saga")),
}
study = optuna.create_study(direction="maximize")
for _ in range(10):
    trial = study.ask(distributions)
    C = trial.params["C"]
    solver = trial.params["solver"]
    study.tell(trial, -C)
assert all(set(trial.params) == {"C", "solver"} for trial in study.trials)
""",
    "batch": """
import numpy as np
import tuneflow as optuna

def batched_objective(xs, ys):
    return xs**2 + ys

batch_size = 10
study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=0))
for _ in range(3):
    trial_numbers, x_batch, y_batch = [], [], []
    for _ in range(batch_size):
        trial = study.ask()
        trial_numbers.append(trial.number)
        x_batch.append(trial.suggest_float("x", -10, 10))
        y_batch.append(trial.suggest_float("y", -10, 10))
    objectives = batched_objective(np.array(x_batch), np.array(y_batch))
    for trial_number, objective in zip(trial_numbers, objectives):
        study.tell(trial_number, objective)
assert len(study.trials) == 30
""",
    "pruning by hand": """
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
import tuneflow as optuna

X, y = load_iris(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(X, y, random_state=0)
classes = np.unique(y)
n_train_iter = 20

study = optuna.create_study(direction="maximize", pruner=optuna.pruners.HyperbandPruner(
    min_resource=1, max_resource=n_train_iter, reduction_factor=3))
for _ in range(12):
    trial = study.ask()
    alpha = trial.suggest_float("alpha", 0.0, 1.0)
    clf = SGDClassifier(alpha=alpha + 1e-9)
    pruned_trial = False
    for step in range(n_train_iter):
        clf.partial_fit(X_train, y_train, classes=classes)
        intermediate_value = clf.score(X_valid, y_valid)
        trial.report(intermediate_value, step)
        if trial.should_prune():
            pruned_trial = True
            break
    if pruned_trial:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        score = clf.score(X_valid, y_valid)
        study.tell(trial, score)
assert len(study.trials) == 12
""",
    "pruning in an objective": """
import tuneflow as optuna
from optuna import TrialPruned

def objective(trial):
    iris = trial.suggest_float("alpha", 1e-5, 1e-1, log=True)
    for step in range(30):
        intermediate_value = iris * (step + 1)
        trial.report(intermediate_value, step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return iris

study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2), seed=0)
study.optimize(objective, n_trials=20)
pruned = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.PRUNED])
complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
assert pruned and complete and len(pruned) + len(complete) == 20
assert TrialPruned is optuna.TrialPruned
""",
    "attributes, conditions, failures": """
import tuneflow as optuna

def objective(trial):
    kind = trial.suggest_categorical("classifier", ["SVC", "RandomForest"])
    trial.set_user_attr("kind", kind)
    if trial.number == 3:
        raise ValueError("no")
    if kind == "SVC":
        return trial.suggest_float("svc_c", 1e-10, 1e10, log=True)
    return trial.suggest_int("rf_max_depth", 2, 32, log=True)

study = optuna.create_study(study_name="conditions", storage="sqlite:///example.db")
study.set_user_attr("contributors", ["Akiba", "Sano"])
study.optimize(objective, n_trials=8, catch=(ValueError,))
assert study.user_attrs["contributors"] == ["Akiba", "Sano"]
assert study.trials[3].state == optuna.trial.TrialState.FAIL
loaded = optuna.load_study(study_name="conditions", storage="sqlite:///example.db")
assert len(loaded.trials) == 8
df = study.trials_dataframe(attrs=("number", "value", "params", "state"))
assert len(df) == 8
""",
    "several objectives": """
import tuneflow as optuna

def objective(trial):
    x = trial.suggest_float("x", 0, 5)
    y = trial.suggest_float("y", 0, 3)
    return 4 * x**2 + 4 * y**2, (x - 5) ** 2 + (y - 5) ** 2

study = optuna.create_study(directions=["minimize", "minimize"])
study.optimize(objective, n_trials=20, timeout=300)
assert study.best_trials
assert optuna.visualization.plot_pareto_front(study.optuna).data
""",
    "enqueue": """
import tuneflow as optuna

def objective(trial):
    return trial.suggest_float("x", 0, 10) ** 2

study = optuna.create_study()
study.enqueue_trial({"x": 5})
study.enqueue_trial({"x": 0}, user_attrs={"memo": "optimal"})
study.optimize(objective, n_trials=2)
assert study.trials[0].params == {"x": 5}
assert study.trials[1].user_attrs == {"memo": "optimal"}
study.add_trial(study.trials[0])
assert len(study.trials) == 3
""",
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet(name: str) -> None:
    exec(compile(SNIPPETS[name], f"<{name}>", "exec"), {"__name__": "snippet"})
