"""The storeys of the house hold: the contracts in pyproject.toml, and no import runs in a circle."""

from __future__ import annotations

import logging
from pathlib import Path

import grimp
import pytest
from importlinter import cli

from tuneflow import __path__ as package_path


@pytest.fixture
def root(monkeypatch):
    # The import linter looks for its settings, and for the packages, from the working directory on.
    folder = Path(package_path[0]).parent
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "integrations")
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    silent = {logger for logger in loggers if logger.disabled}
    yield
    for logger in loggers:  # the import linter configures logging, which silences every logger that is there
        logger.disabled = logger in silent


@pytest.mark.usefixtures("root")
def test_contracts(capsys):
    status = cli.lint_imports(no_cache=True, no_logo=True)
    assert status == cli.EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_no_circular_imports():
    """Not even under ``TYPE_CHECKING``: what is needed from above is a Protocol below."""
    graph = grimp.build_graph("tuneflow", "tuneflow_integrations", cache_dir=None)
    assert graph.modules
    circles = {
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(imported, module)
    }
    assert circles == set()
