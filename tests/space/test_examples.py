"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tuneflow.space


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(tuneflow.space.__path__)])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"tuneflow.space.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
