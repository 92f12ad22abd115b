"""The blocks of W&B's own page on Ray Tune, and ours of the same kind: what they log is in W&B's files.

The page is no part of this repository: ``TUNEFLOW_PAGES`` names the folder that holds it, without which
``../shared/seeds`` beside the repository is looked at. Besides the import lines, what is wrong on it is put right, and
``FAULTS`` lists it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune

ROOT = Path(__file__).resolve().parents[3]
PAGES = Path(os.environ.get("TUNEFLOW_PAGES", ROOT.parent / "shared" / "seeds"))
KEY = "0123456789" * 4
IMPORTS = {
    "from ray import tune": "import tuneflow as tune",
    "from ray.tune.integration.wandb import": "from tuneflow_integrations.wandb import",
    "from ray.tune.logger import": "from tuneflow.callbacks import",
}
FAULTS = {
    "wandb.log()": 'wandb.log({"seen": 1})',  # it needs something to log
    'self.config["a"] + self.config["b"]': 'config["a"] + config["b"]',  # a function has no self
}
OWN = """
```python
from ray.tune.logger import DEFAULT_LOGGERS
from ray.tune.integration.wandb import WandbLogger
tune.run(train_fn, config={
    "parameter_1": tune.choice([1, 2, 3]), "parameter_2": tune.choice([4, 5, 6]),
    "wandb": {"project": "Optimization_Project", "api_key_file": "/path/to/file", "log_config": True},
}, loggers=DEFAULT_LOGGERS + (WandbLogger,))
```

```python
from ray.tune.integration.wandb import wandb_mixin

@wandb_mixin
def train_fn(config):
    wandb.log()
```

```python
from ray import tune
from ray.tune.integration.wandb import wandb_mixin

@wandb_mixin
def train_fn(config):
    for i in range(10):
        loss = self.config["a"] + self.config["b"]
        wandb.log({"loss": loss})
        tune.report(loss=loss)

tune.run(train_fn, config={
    "a": tune.choice([1, 2, 3]), "b": tune.choice([4, 5, 6]),
    "wandb": {"project": "Optimization_Project", "api_key_file": "/path/to/file"},
})
```
"""


def train_fn(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(loss=config["parameter_1"] * step + config["parameter_2"])


@pytest.fixture(params=["page", "own"])
def run_block(request: pytest.FixtureRequest) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs the block of the page that holds a text, and returns what it defines."""
    text = OWN
    if request.param == "page":
        found = sorted(PAGES.glob("003_*.txt"))
        if not found:
            pytest.skip(f"the page is not in {PAGES}; TUNEFLOW_PAGES names the folder of the pages")
        text = found[0].read_text(encoding="utf-8")
    Path("key").write_text(KEY)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    def run(*wanted: str) -> dict[str, Any]:
        import wandb

        (code,) = [block for block in blocks if all(part in block for part in wanted)]
        for old, new in {**IMPORTS, **FAULTS, "/path/to/file": str(Path("key").resolve())}.items():
            code = code.replace(old, new)
        names: dict[str, Any] = {"__name__": "page", "tune": tune, "wandb": wandb, "train_fn": train_fn}
        exec(compile(code, "page", "exec"), names)
        return names

    yield run
    tune.shutdown_workers()
    keyed = [path for path in Path.cwd().rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert [path.name for path in keyed] == ["key"]


def only_trial() -> Any:
    (folder,) = Path("tuneflow_results").iterdir()
    (trial,) = tune.ExperimentAnalysis(folder).trials
    return trial


def test_the_logger(run_block: Any, read_runs: Callable[..., Any]) -> None:
    run_block("WandbLogger", "tune.run(")
    trial, run = only_trial(), read_runs()[0]
    assert [row["loss"] for row in run.rows] == [result["loss"] for result in trial.results]
    assert len(run.rows) == 3
    assert {row["config/parameter_1"] for row in run.rows} == {trial.config["parameter_1"]}
    assert (run.project, run.config, run.tags) == ("Optimization_Project", trial.config, ("complete",))


def test_the_mixin_alone(run_block: Any, read_runs: Callable[..., Any]) -> None:
    names = run_block("@wandb_mixin", "wandb.log()")
    tune.run(names["train_fn"], {"wandb": {"project": "p", "api_key_file": "key"}}, verbose=0)
    assert [row["seen"] for row in read_runs(suffix="-own")[0].rows] == [1]


def test_the_mixin_in_a_run(run_block: Any, read_runs: Callable[..., Any]) -> None:
    run_block("@wandb_mixin", "tune.run(")
    trial, run = only_trial(), read_runs(suffix="-own")[0]
    loss = trial.config["a"] + trial.config["b"]
    assert [row["loss"] for row in run.rows] == [result["loss"] for result in trial.results] == [loss] * 10
    assert (run.project, run.config) == ("Optimization_Project", trial.config)
