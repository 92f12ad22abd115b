"""``tune.script``: an existing training script as the trial of a run, with hyperparameters as its arguments.

ASHA pauses the script's trials, and has the better ones go on: the script is started again and loads its checkpoint.
Run it with ``python examples/tune_script.py``, shorter with ``--quick``.
"""

import sys
from pathlib import Path

import tuneflow as tune
from tuneflow.pruners import ASHA

N_TRIALS, N_EPOCHS = (4, 3) if "--quick" in sys.argv else (16, 27)

train = tune.script(
    Path(__file__).with_name("script_train.py"), args=f"--lr {{lr}} --hidden {{model/hidden}} --epochs {N_EPOCHS}"
)
analysis = tune.run(
    train,
    {"lr": tune.loguniform(0.01, 10), "model": {"hidden": tune.lograndint(4, 64)}},
    metric="loss",
    mode="min",
    num_samples=N_TRIALS,
    scheduler=ASHA(max_resource=N_EPOCHS, reduction_factor=3, promote=True),
    seed=0,
)
for trial in analysis.trials:
    print(f"trial {trial.trial_id}: {len(trial.results)} epochs, loss {trial.last_result['loss']:.4f}")
print("best configuration:", analysis.best_config)
