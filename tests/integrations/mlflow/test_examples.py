"""The examples in the docstrings run and say what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("mlflow", "mlflow_mixin", "mlflow_names", "shipping", "spool", "tensorboard")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name == "tensorboard":
        pytest.importorskip("tensorboardX")
    result = doctest.testmod(importlib.import_module(f"tuneflow_integrations.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
