"""Page 003, Weights & Biases: one test per block, on offline runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tuneflow_integrations.wandb") is None or importlib.util.find_spec("wandb") is None,
    reason="needs the integration of Weights & Biases",
)

IMPORT, LOGGER, SIGNATURE, MIXIN, WHOLE = range(5)
KEY = "0123456789" * 4
Opened = Callable[[str], Any]


@pytest.fixture(scope="module", autouse=True)
def _service() -> Iterator[None]:
    """W&B has a process of its own, which takes its time to start."""
    yield
    import wandb

    wandb.teardown()


@pytest.fixture(autouse=True)
def _offline(_service: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_BASE_URL", "WANDB_SERVICE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(Path.cwd()))
    # It asks only once where it is, and that folder goes with the test.
    wandb.setup(settings=wandb.Settings(root_dir=str(Path.cwd())))
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    Path("key").write_text(KEY)
    yield
    tune.shutdown_workers()  # their W&B has its socket in this test's folder


def key_file() -> dict[str, str]:
    """What the page leaves out: a file with a key."""
    return {"/path/to/file": str(Path("key").resolve())}


def offline_runs() -> list[Path]:
    return sorted(Path.cwd().rglob("offline-run-*/run-*.wandb"))


def assert_the_key_is_nowhere() -> None:
    for path in Path.cwd().rglob("*"):
        if path.is_file() and path.name != "key":
            assert KEY.encode() not in path.read_bytes(), path


def train_fn(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(loss=config["parameter_1"] + config["parameter_2"] + step)


def test_the_logger_is_where_the_rule_says(page: Opened) -> None:
    from tuneflow_integrations.wandb import WandbLogger

    assert page("003").run(IMPORT)["WandbLogger"] is WandbLogger


def test_the_logger_beside_the_default_ones(page: Opened) -> None:
    page("003").run(LOGGER, supplied={"tune": tune, "train_fn": train_fn}, faults=key_file())
    (folder,) = Path("tuneflow_results").iterdir()
    (trial,) = tune.ExperimentAnalysis(folder).trials
    assert len(trial.results) == 3, "the default loggers wrote too"
    assert len(offline_runs()) == 1
    assert_the_key_is_nowhere()


def test_the_mixin_takes_a_function(page: Opened) -> None:
    from tuneflow_integrations.wandb import wandb_mixin

    # A fault of the page: it writes a signature as though it were a call.
    faults = {"ray.tune.integration.wandb.wandb_mixin(func)": "wrapped = wandb_mixin(func)"}
    names = page("003").run(SIGNATURE, supplied={"wandb_mixin": wandb_mixin, "func": train_fn}, faults=faults)
    assert callable(names["wrapped"])
    assert names["wrapped"].__name__ == "train_fn"


def test_the_mixin_decorates(page: Opened) -> None:
    import wandb

    # A fault of the page: wandb.log needs something to log.
    names = page("003").run(MIXIN, supplied={"wandb": wandb}, faults={"wandb.log()": "wandb.log({'seen': 1})"})
    tune.run(names["train_fn"], {"wandb": {"project": "p", "api_key_file": str(Path("key").resolve())}}, verbose=0)
    assert len(offline_runs()) == 1
    assert_the_key_is_nowhere()


def test_a_whole_run_with_the_mixin(page: Opened) -> None:
    import wandb

    # A fault of the page: a function has no self.
    faults = {'self.config["a"] + self.config["b"]': 'config["a"] + config["b"]', **key_file()}
    page("003").run(WHOLE, supplied={"wandb": wandb}, faults=faults)
    (folder,) = Path("tuneflow_results").iterdir()
    (trial,) = tune.ExperimentAnalysis(folder).trials
    assert [result["loss"] for result in trial.results] == [trial.config["a"] + trial.config["b"]] * 10
    assert len(offline_runs()) == 1
    assert_the_key_is_nowhere()
