"""``docs/tune.md`` names everything that the pages use, and its rule for import lines is the one that is applied."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TABLE = (HERE.parents[1] / "docs" / "tune.md").read_text(encoding="utf-8")
USED = re.compile(
    r"\btune\.(\w+)|\banalysis\.(\w+)|^from ray\.\S+ import (.+)|(\w+)=|\bdef (\w+)\(self", flags=re.MULTILINE
)
# What the pages define themselves, and keys of dicts.
OF_THE_PAGES = {"a", "b", "loss", "mean_accuracy", "momentum", "score", "x", "y", "parameter_1"}


@pytest.mark.parametrize("number", ["000", "002", "003"])
def test_every_name_that_a_page_uses_is_in_the_table(number: str, page: Any) -> None:
    blocks = [block for block in page(number).blocks if not block.startswith("@")]  # a citation is no code
    used = {
        name.strip()
        for block in blocks
        for match in USED.finditer(block)
        for names in filter(None, match.groups())
        for name in names.split(",")
    }
    known = set(re.findall(r"\w+", TABLE))
    assigned = set(re.findall(r"^(\w+) = ", "\n".join(blocks), flags=re.MULTILINE))
    assert used - known - assigned - OF_THE_PAGES == set()


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("from ray import tune", "import tuneflow as tune"),
        ("    from ray import tune", "    import tuneflow as tune"),
        ("import ray", ""),
        ("from ray.tune import Trainable, report", "from tuneflow import Trainable, report"),
        ("from ray.tune.suggest import ConcurrencyLimiter", "from tuneflow.search import ConcurrencyLimiter"),
        ("from ray.tune.suggest.bayesopt import BayesOptSearch", "from tuneflow.search import BayesOptSearch"),
        ("from ray.tune.search.optuna import OptunaSearch", "from tuneflow.search import OptunaSearch"),
        ("from ray.tune.schedulers import ASHAScheduler", "from tuneflow.schedulers import ASHAScheduler"),
        ("from ray.tune.schedulers.pb2 import PB2", "from tuneflow.schedulers import PB2"),
        ("from ray.tune.stopper import TimeoutStopper", "from tuneflow.stoppers import TimeoutStopper"),
        ("from ray.tune.logger import DEFAULT_LOGGERS", "from tuneflow.callbacks import DEFAULT_LOGGERS"),
        ("from ray.tune.integration.wandb import wandb_mixin", "from tuneflow_integrations.wandb import wandb_mixin"),
        (
            "from ray.tune.integration.pytorch_lightning import TuneCallback",
            "from tuneflow_integrations.lightning import TuneCallback",
        ),
        ("import rayon", "import rayon"),
        ("x = 'from ray import tune'", "x = 'from ray import tune'"),
    ],
)
def test_the_rule_for_import_lines(with_our_imports: Any, written: str, ours: str) -> None:
    assert with_our_imports(written) == ours
    if ours.startswith(("from tuneflow ", "from tuneflow.")):
        _, module, _, names = ours.split(" ", 3)
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name)


def test_only_import_lines_are_changed(with_our_imports: Any, page: Any) -> None:
    for block in page("000").blocks:
        for before, after in zip(block.splitlines(), with_our_imports(block).splitlines(), strict=True):
            assert before == after or before.lstrip().startswith(("import ", "from "))
