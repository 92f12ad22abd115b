"""The storeys of the house hold: the contracts in pyproject.toml, and no import runs in a circle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tuneflow import __path__ as package_path


@pytest.fixture
def root(monkeypatch):
    # The import linter looks for its settings, and for the packages, from the working directory on.
    folder = Path(package_path[0]).parent
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "integrations")


@pytest.mark.usefixtures("root")
def test_contracts():
    # In a process of its own: the linter sets up logging anew, which silences every logger that is there; and where
    # absl was imported (by Keras, say) its handler then closes the stream that pytest captures.
    code = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


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
