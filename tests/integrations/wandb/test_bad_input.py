"""Mistakes are found where they are made; no key gets anywhere."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, InvalidArgumentType, UsageError
from tuneflow_integrations.wandb import WandbLogger, setup_wandb, wandb_mixin
from tuneflow_integrations.wandb_options import WandbOptions, run_id

KEY = "0123456789abcdef" * 3


def train(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": 1.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"api_key": KEY, "api_key_file": "key"}, "say the same thing"),
        ({"api_key_file": "no/such/file"}, "No such file"),
        ({"api_key_file": "."}, "Is a directory"),
        ({"api_key_file": 3}, "cannot be read"),
        ({"api_key": ""}, "must be a text that is not empty"),
        ({"api_key": 3}, "must be a text"),
        ({"project": "a/b"}, r"Invalid project name 'a/b': cannot contain characters .* found '/'"),
        ({"project": "p" * 129}, "exceeded 128 characters"),
        ({"id": "a/b"}, "Run ID cannot contain"),
        ({"tags": ["x" * 65]}, "64 characters"),
        ({"mode": "sideways"}, "mode"),
        ({"colour": "red"}, "colour: neither an option of WandbLogger"),
        ({"reinit": True}, "cannot be chosen"),
        ({"settings": 3}, "must be a dict or a wandb.Settings"),
        ({"settings": {"consol": "off"}}, "consol"),
        ({"excludes": "loss"}, "must be a list"),
        ({"excludes": 3}, "must be a list"),
        ({"log_config": "yes"}, "must be True or False"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    Path("key").write_text(KEY)
    with pytest.raises((InvalidArgument, InvalidArgumentType), match=message) as caught:
        WandbLogger(**{"project": "p", **given})
    assert KEY not in str(caught.value)
    with pytest.raises((InvalidArgument, InvalidArgumentType), match=message):
        tune.run(
            train, {"x": 1, "wandb": {"project": "p", **given}}, metric="loss", mode="min", loggers=(WandbLogger,),
            storage_path=tmp_path, name="e",
        )  # fmt: skip
    assert not (tmp_path / "e").exists(), "before anything is created"


@pytest.mark.parametrize("text", ["", "two words", "two\nlines"])
def test_a_key_file_holds_the_key_alone(text: str) -> None:
    Path("key").write_text(text)
    with pytest.raises(InvalidArgument, match="the key alone"):
        WandbLogger("p", api_key_file="key")


def test_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tune.create_study({"x": 1})
    with pytest.raises(InvalidArgument, match=r"needs to know the project.*WANDB_PROJECT"):
        study.add_callback(WandbLogger())
    with pytest.raises(InvalidArgument, match="needs to know the project"):
        study.optimize(lambda trial: 1.0, n_trials=1, callbacks=[WandbLogger])
    with pytest.raises(InvalidArgument, match="needs to know the project"):
        tune.run(train, {"x": 1}, callbacks=[WandbLogger()], storage_path=tmp_path, name="e")
    assert not (tmp_path / "e").exists()
    monkeypatch.setenv("WANDB_PROJECT", "of the environment")
    study.add_callback(WandbLogger())
    study.add_callback(WandbLogger(settings={"project": "p"}))


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    study = tune.create_study({"x": 1})
    with pytest.raises(InvalidArgument, match=r"API key to go online.*wandb login.*mode='offline'"):
        study.add_callback(WandbLogger("p"))
    study.add_callback(WandbLogger("p", mode="offline"))
    study.add_callback(WandbLogger("p", api_key=KEY))
    study.add_callback(WandbLogger("p", settings={"api_key": KEY}))
    Path("~/.netrc").expanduser().write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    Path("~/.netrc").expanduser().chmod(0o600)
    study.add_callback(WandbLogger("p"))
    with pytest.raises(InvalidArgument, match="API key to go online"):
        study.add_callback(WandbLogger("p", settings={"base_url": "https://wandb.example.com"}))


def test_settings_of_the_run_outrank_those_of_the_object() -> None:
    Path("key").write_text(f" {KEY}\n")
    options = WandbOptions.merged(
        {"project": "a", "api_key": "x" * 40, "excludes": ("a",), "entity": "e", "run_name": "old"},
        {"project": "b", "api_key_file": "key", "excludes": ["b"], "run_name": "new", "mode": None},
    )
    assert options.api_key == KEY
    assert options.excludes == ("b",)
    assert options.init == {"project": "b", "entity": "e", "name": "new"}
    assert KEY not in repr(options)


@pytest.mark.parametrize("name", ["a/b:c#d?e,f;g'h", "é" * 300, "-", "no_thing.odd-1"])
def test_any_study_name_makes_an_id_and_a_group(name: str) -> None:
    import wandb

    options = WandbOptions.merged({"project": "p"})
    arguments = options.init_arguments(study=name, number=3, token="c0ffee", config={})
    assert arguments["id"] == run_id(name, "c0ffee", 3)
    wandb.Settings(run_id=arguments["id"])
    assert len(arguments["group"]) <= 128
    assert arguments["name"] == f"{name}-00003"
    given = WandbOptions.merged({"project": "p", "id": "mine", "group": "ours", "name": "n {trial_id}"})
    arguments = given.init_arguments(study=name, number=3, token="c0ffee", config={})
    assert (arguments["id"], arguments["group"], arguments["name"]) == ("mine-00003", "ours", "n 00003")


def test_a_logger_is_pickled_as_it_was_made_but_never_with_a_key() -> None:
    import wandb

    given = {"project": "p", "excludes": ["a"], "mode": "offline", "tags": ("t",)}
    assert pickle.loads(pickle.dumps(WandbLogger(**given)))._given.items() >= given.items()
    for key in ({"api_key": KEY}, {"settings": {"api_key": KEY}}, {"settings": wandb.Settings(api_key=KEY)}):
        with pytest.raises(TypeError, match="API key cannot be pickled"):
            pickle.dumps(WandbLogger("p", **key))


@pytest.mark.parametrize("given", [3, "trial"])
def test_setup_needs_a_trial(given: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="needs a trial"):
        setup_wandb(given)


def test_setup_needs_a_running_trial() -> None:
    with pytest.raises(UsageError, match="inside a trial"):
        setup_wandb(project="p")


@pytest.mark.parametrize("given", [3, int, "train"])
def test_the_mixin_needs_a_trainable(given: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="wandb_mixin takes"):
        wandb_mixin(given)


def test_the_mixin_needs_settings(tmp_path: Path) -> None:
    analysis = tune.run(
        wandb_mixin(train), {"x": 1}, metric="loss", mode="min", storage_path=tmp_path, name="e", verbose=0,
        executor="inline", raise_on_failed_trial=False,
    )  # fmt: skip
    assert "needs to know the project" in str(analysis.trials[0].error)


def leaking(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(loss=config["x"])
    raise RuntimeError(f"something about {config['wandb'].get('api_key', 'nothing')[:4]}")


@pytest.mark.parametrize("way", ["constructor", "file", "section", "section file", "environment", "settings"])
def test_the_key_is_in_no_file_no_log_and_no_attribute(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, read_runs: Callable[..., Any],
) -> None:  # fmt: skip
    (tmp_path / "key").write_text(KEY)
    section: dict[str, Any] = {"project": "p"}
    if way.startswith("section"):
        section |= {"api_key": KEY} if way == "section" else {"api_key_file": str(tmp_path / "key")}
    if way == "environment":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    own = {
        "constructor": {"api_key": KEY},
        "file": {"api_key_file": tmp_path / "key"},
        "settings": {"settings": {"api_key": KEY}},
    }
    work = tmp_path / "work"
    with caplog.at_level(logging.DEBUG):
        tune.run(
            leaking, {"x": tune.randn(), "wandb": section}, metric="loss", mode="min", num_samples=2, executor="inline",
            callbacks=[WandbLogger(dir=str(work), **own.get(way, {}))], storage_path=work, name="e", verbose=3,
            raise_on_failed_trial=False,
        )  # fmt: skip
    assert len(read_runs(work)) == 2
    files = [path for path in work.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in caplog.text
    out, err = capfd.readouterr()
    assert KEY not in out + err
    study = tune.load_study(study_name="e", storage=work / "e" / "study.log")
    kept = [study.user_attrs, study.optuna._storage.get_study_system_attrs(study.optuna._study_id)]
    kept += [[trial.params, trial.user_attrs, trial.system_attrs] for trial in study.trials]
    assert KEY not in json.dumps(kept, default=str)
    assert KEY not in "".join(path.read_text(errors="replace") for path in Path.home().rglob("*") if path.is_file())


def test_a_long_key_in_an_error_is_masked(tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    def fails(config: dict[str, Any]) -> None:
        raise RuntimeError(f"the server says no to {config['wandb']['api_key']}")

    tune.run(
        fails, {"x": 1, "wandb": {"project": "p", "api_key": KEY}}, metric="loss", mode="min", executor="inline",
        callbacks=[WandbLogger], storage_path=tmp_path, name="e", verbose=0, raise_on_failed_trial=False,
    )  # fmt: skip
    summary = read_runs()[0].summary
    assert "says no to ********" in summary["error"]
    assert KEY not in json.dumps(summary)
