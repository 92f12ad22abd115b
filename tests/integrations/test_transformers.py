"""A Hugging Face ``Trainer`` as a trial."""

from __future__ import annotations

import optuna
import pytest
import torch
import transformers
from torch import nn

import tuneflow as tune
from tuneflow.errors import MetricNotLogged
from tuneflow.pruners import Exploit
from tuneflow_integrations.transformers import TuneCallback

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
DATA = [
    {"x": row, "labels": int(row.sum() > 0)} for row in torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
]
N_EPOCHS = 4

pytestmark = [
    # Of the trainer itself, on a CPU.
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Recording(transformers.TrainerCallback):
    def __init__(self, log):
        self.recorded = log

    def on_step_end(self, args, state, control, optimizer, **given):
        self.recorded.append((round(state.epoch, 3), optimizer.param_groups[0]["lr"]))


def train(trial, config, folder, log, metric="eval_loss", **options):
    torch.manual_seed(0)
    callback = TuneCallback({"loss": metric}, trial=trial, **options)
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=N_EPOCHS, per_device_train_batch_size=8, learning_rate=config["learning_rate"],
        eval_strategy="epoch", save_strategy="no", save_total_limit=1, report_to="none", use_cpu=True,
        disable_tqdm=True, seed=1, logging_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        Model(), arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=[callback, Recording(log)]
    )
    callback.train(trainer)
    return trainer.model


def run(pruner, folder, **options):
    study = tune.create_study({"learning_rate": 0.1}, metric="loss", mode="min", pruner=pruner)
    log, n_asked = [], 0
    while (trial := study.ask(new=not n_asked)) is not None:
        n_asked += 1
        model = train(trial, trial.config, folder / str(n_asked), log, **options)
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    return study.trials[0], log, model


def test_paused_and_resumed_equals_never_paused(scripted, pause, tmp_path):
    whole, steps, model = run(scripted(), tmp_path / "whole")
    paused, resumed_steps, resumed = run(scripted({(0, 1): pause, (0, 3): pause}), tmp_path / "paused")
    assert resumed_steps == steps
    assert paused.intermediate_values == whole.intermediate_values
    assert list(whole.intermediate_values) == [1, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_a_stop_ends_the_training(scripted, stop, tmp_path):
    trial, steps, _ = run(scripted({(0, 2): stop}), tmp_path, checkpoint=False)
    assert trial.state.name == "PRUNED"
    assert steps[-1][0] == 2
    assert not list(tmp_path.rglob("checkpoint-*")), "checkpoint=False saves nothing"


def test_an_exploit_starts_again_with_its_own_rate(scripted, tmp_path):
    log = []

    def objective(trial):
        train(None, trial.config, tmp_path / str(len(log)), log)
        return trial.last_value

    pruner = scripted({(0, 2): Exploit(0, {"learning_rate": 0.4})}, needs_checkpoints=True)
    study = tune.create_study({"learning_rate": 0.1}, metric="loss", mode="min", pruner=pruner)
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    rates = dict(log)
    assert list(study.trials[0].intermediate_values) == [1, 2, 3, 4]
    assert rates[2.0] == pytest.approx(0.1 * 8 / 16)  # a line down to zero after 16 steps
    assert rates[2.25] == pytest.approx(0.4 * 7 / 16)


def test_a_plain_optuna_trial(tmp_path):
    class Prunes(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return len(trial.intermediate_values) == 2

    def objective(trial):
        train(trial, {"learning_rate": trial.suggest_float("lr", 0.1, 0.2)}, tmp_path, [], checkpoint=False)
        return 0.0

    study = optuna.create_study(pruner=Prunes())
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state.name == "PRUNED"


def test_a_metric_that_is_not_there(tmp_path):
    trial = tune.create_study({"learning_rate": 0.1}, metric="loss", mode="min").ask()
    with pytest.raises(MetricNotLogged, match=r"metric 'eval_f1' was not logged; logged are: .*eval_loss"):
        train(trial, trial.config, tmp_path, [], metric="eval_f1")
