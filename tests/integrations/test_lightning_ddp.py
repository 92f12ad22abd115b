"""Trainings on two CPU processes: rank 0 reports, all ranks do what it is told, nobody hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("lightning")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # six interpreters import Lightning, on two busy cores

# One program, so that Lightning is imported once: by fork in a loop of one's own and in a worker, then by spawn.
PROGRAM = textwrap.dedent(
    """
    import json, logging, os, sys, time, warnings
    from pathlib import Path
    import torch
    import lightning.pytorch as pl
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    import tuneflow as tune
    from tuneflow.errors import MetricNotLogged, UsageError
    from tuneflow.pruners import Continue, Pause, Pruner, Stop
    from tuneflow_integrations.lightning import TuneCallback

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    DATA = TensorDataset(torch.randn(32, 4, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2)

    class Scripted(Pruner):
        def __init__(self, script=()):
            self.script, self.paused = dict(script), []
        def on_report(self, trial, step, value, checkpoint, decided=None):
            decision = decided or self.script.get((trial, step), Continue())
            if isinstance(decision, Pause):
                self.paused.append(trial)
            return decision
        def next_resume(self, more=True):
            return self.paused.pop() if self.paused else None

    class Model(pl.LightningModule):
        def __init__(self, folder):
            super().__init__()
            self.folder = folder
            self.net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        def validation_step(self, batch, index):
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]), sync_dist=True)
        def on_train_epoch_end(self):
            with open(Path(self.folder) / f"rank{self.global_rank}", "a") as file:
                file.write(f"{self.current_epoch} ")
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def fit(trial, folder, strategy, metric="val_loss", plain=False, n=4):
        os.makedirs(folder, exist_ok=True)
        callback = TuneCallback({"loss": metric}, trial=trial)
        trainer = pl.Trainer(
            max_epochs=n, min_epochs=n, accelerator="cpu", devices=2, strategy=strategy, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[callback])
        model = Model(str(folder))
        loaders = [DataLoader(DATA, 4, shuffle=True), DataLoader(DATA, 8)]
        if plain:
            trainer.fit(model, *loaders)
        else:
            callback.fit(trainer, model, train_dataloaders=loaders[0], val_dataloaders=loaders[1])
        return model, callback.decision

    def study_of(script):
        return tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=Scripted(script), seed=1)

    def loop(script, folder, strategy):
        study, n_asked, decision, model = study_of(script), 0, None, None
        while (trial := study.ask(new=not n_asked)) is not None:
            n_asked += 1
            trial.seed_everything() if n_asked == 1 else torch.manual_seed(99)
            model, decision = fit(trial, folder, strategy)
            if not trial.is_paused:
                study.tell(trial, trial.last_value)
        ranks = [(Path(folder) / f"rank{rank}").read_text().split() for rank in range(2)]
        weights = sum(parameter.double().sum().item() for parameter in model.parameters())
        frozen = study.trials[0]
        return {"state": frozen.state.name, "values": list(frozen.intermediate_values.values()), "ranks": ranks,
                "weights": weights, "decision": repr(decision)}

    def train(config):
        fit(None, tune.get_trial().dir, "ddp_fork")
        return {"loss": -1.0}

    def error_of(function, *arguments, **named):
        start = time.monotonic()
        try:
            function(*arguments, **named)
        except Exception as error:
            return [type(error).__name__, str(error)[-600:], time.monotonic() - start]

    def main(folder):
        found = {}
        found["whole"] = loop({}, folder / "whole", "ddp_fork")
        found["paused"] = loop({(0, 1): Pause(), (0, 2): Pause()}, folder / "paused", "ddp_fork")
        found["stopped"] = loop({(0, 2): Stop()}, folder / "stopped", "ddp_fork")
        found["unlogged"] = error_of(fit, study_of({}).ask(), folder / "unlogged", "ddp_fork", metric="val_los")
        found["by trainer.fit"] = error_of(fit, study_of({}).ask(), folder / "direct", "ddp_fork", plain=True)
        analysis = tune.run(train, {"lr": 0.1}, metric="loss", mode="min", scheduler=Scripted({(0, 3): Stop()}),
                            storage_path=folder, verbose=0)
        results = list(analysis.trial_dataframes.values())[0]
        found["run"] = {"steps": list(results["training_iteration"]), "values": list(results["loss"])}
        tune.shutdown_workers()
        found["spawned"] = loop({(0, 2): Stop()}, folder / "spawned", "ddp_spawn")
        print(json.dumps(found))

    if __name__ == "__main__":
        main(Path(sys.argv[1]))
    """
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)],
        capture_output=True, text=True, check=False, timeout=280, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_one_report_per_epoch(found):
    whole = found["whole"]
    assert whole["state"] == "COMPLETE"
    assert len(whole["values"]) == 4
    assert whole["ranks"] == [["0", "1", "2", "3"]] * 2


def test_paused_and_resumed_equals_never_paused(found):
    """Each rank goes on with its own generators: shuffling and dropout are drawn by both."""
    assert found["paused"]["values"] == found["whole"]["values"]
    assert found["paused"]["weights"] == found["whole"]["weights"]
    assert found["paused"]["state"] == "COMPLETE"


@pytest.mark.parametrize("how", ["stopped", "spawned"])
def test_a_stop_stops_every_rank_in_spite_of_min_epochs(found, how):
    stopped = found[how]
    assert stopped["state"] == "PRUNED"
    assert stopped["values"] == found["whole"]["values"][:2]
    assert stopped["ranks"] == [["0", "1"]] * 2
    assert stopped["decision"] == "Stop(complete=False)"


def test_a_trial_in_a_worker_process_is_stopped_whatever_it_returns(found):
    assert found["run"]["steps"] == [1, 2, 3]
    assert -1.0 not in found["run"]["values"]


def test_an_error_of_rank_0_ends_the_others(found):
    kind, text, seconds = found["unlogged"]
    assert kind == "ProcessRaisedException"
    assert "val_los" in text
    assert seconds < 30


def test_without_callback_fit_it_says_what_to_call(found):
    kind, text, seconds = found["by trainer.fit"]
    assert kind == "ProcessRaisedException"
    assert "callback.fit" in text
    assert seconds < 30
