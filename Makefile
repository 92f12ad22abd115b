# Every target makes the environment it needs: on a fresh clone, `make demo`, `make test` and `make check` just work.
# They need Python 3.10 or newer with its venv module, and a pip that reaches a package index.

PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# `python -m pip` rather than `pip`: it also works in an environment that was moved or copied.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_PIN := pip==26.3
OLD_PYTHON := import sys; sys.exit(None if sys.version_info >= (3, 10) else "$(PYTHON) is Python %d.%d; tuneflow \
needs 3.10 or newer: make PYTHON=python3.12" % sys.version_info[:2])
PINS := pyproject.toml constraints.txt

BENCH_VENV := .venv-bench
SYNE_VENV := .venv-bench-syne013
BENCH_PINS := benchmarks/requirements.txt benchmarks/constraints.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## Runs the demonstration. No GPU, no account; no network once installed.
	$(BIN)/tuneflow demo

test: $(VENV)/.installed-dev ## Runs the tests on JOBS=2 processes. PYTEST_ARGS="-k asha" selects.
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## Lint, format, types and the storeys of the house.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.:integrations $(BIN)/lint-imports

bench: $(BENCH_VENV)/.installed $(SYNE_VENV)/.installed ## Measures against Optuna, Ray Tune, Syne Tune and KerasTuner. BENCH_ARGS=--quick is short.
	$(BENCH_VENV)/bin/python benchmarks/run.py $(BENCH_ARGS)

clean: ## Removes what the other targets made: environments, caches, benchmark results.
	rm -rf $(VENV) $(BENCH_VENV) $(SYNE_VENV) build dist benchmarks/results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-pip:
	$(PYTHON) -c '$(OLD_PYTHON)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(PIP_PIN)
	touch $@

$(VENV)/.installed-demo: $(VENV)/.installed-pip $(PINS)
	$(PIP) -c constraints.txt --build-constraint constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-pip $(PINS)
	$(PIP) -c constraints.txt --build-constraint constraints.txt -e . --group dev
	touch $@

# The peers live apart, so that nothing of theirs reaches the tests.
$(BENCH_VENV)/.installed: $(BENCH_PINS)
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_PIN)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c benchmarks/constraints.txt -r benchmarks/requirements.txt -e .
	touch $@

# Syne Tune 0.13 asks for NumPy 1, which Ray and KerasTuner have left behind: an environment of its own.
$(SYNE_VENV)/.installed: benchmarks/requirements-syne013.txt
	$(PYTHON) -m venv $(SYNE_VENV)
	$(SYNE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_PIN)
	$(SYNE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-syne013.txt
	touch $@
