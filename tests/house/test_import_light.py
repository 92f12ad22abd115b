"""`import tuneflow` stays light, and what it puts off still arrives."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import types

import pytest

import tuneflow

# What may only be imported when it is first used: optional libraries, and those that take long.
HEAVY = (
    "alembic", "cloudpickle", "lightning", "mlflow", "numpy", "optuna", "pandas", "plotly", "pytorch_lightning", "ray",
    "rich", "scipy", "sklearn", "sqlalchemy", "torch", "tuneflow_integrations", "wandb",
)  # fmt: skip


def fresh(code: str) -> str:
    """What ``code`` prints in an interpreter that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_no_heavy_library():
    loaded = json.loads(fresh("import json, sys, tuneflow; print(json.dumps(sorted(sys.modules)))"))
    assert "tuneflow" in loaded
    assert [name for name in loaded if name in HEAVY] == []


@pytest.mark.parametrize("package", ["pruners", "space", "runner"])
def test_packages_of_pure_decisions_bring_no_heavy_library(package):
    code = f"import json, sys, tuneflow.{package}; print(json.dumps(sorted(sys.modules)))"
    assert [name for name in json.loads(fresh(code)) if name in HEAVY and name != "numpy"] == []


def test_every_exported_name_resolves():
    code = """
import json, tuneflow
missing = {}
for name in getattr(tuneflow, "__all__", ()):
    try:
        getattr(tuneflow, name)
    except Exception as error:
        missing[name] = repr(error)
    if name not in dir(tuneflow):
        missing.setdefault(name, "not in dir(tuneflow)")
print(json.dumps(missing))
"""
    assert json.loads(fresh(code)) == {}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        tuneflow.no_such_name


def test_no_module_hides_a_function():
    modules = {module.name for module in pkgutil.iter_modules(tuneflow.__path__)}
    hidden = [
        name
        for name in getattr(tuneflow, "__all__", ())
        if name in modules and not isinstance(getattr(tuneflow, name), types.ModuleType)
    ]
    assert hidden == []
