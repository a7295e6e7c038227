# Every target first creates what it needs: an environment in .venv with the versions in
# requirements.lock.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEPENDENCIES := $(VENV)/dependencies
TORCH_VERSION := 2.13.0
# Build of PyTorch: cpu, default (on Linux the CUDA build, several GB), none (only for test-newer), or
# auto: default if an NVIDIA driver is found, else cpu.
TORCH ?= auto
TORCH_BUILD := $(if $(filter auto,$(TORCH)),$(if $(shell command -v nvidia-smi 2>/dev/null),default,cpu),$(TORCH))
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

export TOOLFORMER_HOME ?= $(CURDIR)/data
export DAGSTER_HOME := $(or $(TOOLFORMER_CACHE),$(TOOLFORMER_HOME))/dagster
# Nothing is downloaded from a model hub at run time.
export HF_HUB_OFFLINE := 1
# pip need not compile modules: Python compiles what it imports, and most modules are never imported.
export PIP_COMPILE ?= 0
# OpenMP threads that wait for each other spin briefly, then sleep. The long default spin makes two
# runs on the same cores ten times slower. Sleeping at once halves the speed of a single run.
export GOMP_SPINCOUNT ?= 10000
UI_PORT ?= 3000
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup dependencies demo ui test test-fast test-newer test-cluster faults bench docs check lint types format lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Create the environment (other targets do so when needed)

# A target of its own for the container image: this layer changes only with the versions, not with
# the code.
dependencies: $(DEPENDENCIES)  ## Create the environment without the project itself

# torch comes first, on its own. If the CPU index cannot be reached, pip uses the other indexes;
# --retries 0 avoids a long wait. The CUDA build needs its dependencies.
$(DEPENDENCIES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH_BUILD),cpu)
	$(BIN)/pip install --quiet --no-deps --retries 0 --extra-index-url $(TORCH_CPU_INDEX) torch==$(TORCH_VERSION) \
	  || $(BIN)/pip install --quiet --no-deps torch==$(TORCH_VERSION)
else ifneq ($(TORCH_BUILD),none)
	$(BIN)/pip install --quiet torch==$(TORCH_VERSION)
endif
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
ifneq ($(TORCH_BUILD),none)
# If there is no CPU build for this Python, the CUDA build was installed, which needs its
# dependencies.
	@$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(BIN)/pip install --quiet -c requirements.lock torch==$(TORCH_VERSION)
endif
	@touch $@

$(STAMP): $(DEPENDENCIES) pyproject.toml
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## Run the whole pipeline on the included model and texts; 10 minutes
	$(BIN)/toolformer recipe demo

# Dagster needs an absolute path. An existing dagster.yaml of the home is never replaced.
ui: $(STAMP)  ## Run `dagster dev` on the loopback address (UI_PORT=3000)
	@mkdir -p "$$DAGSTER_HOME"
	@test -e "$$DAGSTER_HOME/dagster.yaml" || cp dagster_project/dagster.yaml "$$DAGSTER_HOME"
	DAGSTER_HOME="$$(cd "$$DAGSTER_HOME" && pwd)" $(BIN)/dagster dev --host 127.0.0.1 --port $(UI_PORT)

# Two tests run at a time, each with one thread: with two threads each, they would wait for each
# other. Test files run in their given order, because those of tests/assets take longest and would
# otherwise keep one worker busy at the end. Temporary files are in memory if there is room, because
# each commit to a database would wait for a disk.
ifndef TMPDIR
MEMORY := $(shell awk '/^MemAvailable/ { exit $$2 < 8 * 2 ^ 20 }' /proc/meminfo 2>/dev/null \
  && df --output=avail -k /dev/shm 2>/dev/null | awk 'END { exit $$1 < 4 * 2 ^ 20 }' && echo /dev/shm)
endif
PYTEST := $(if $(MEMORY),TMPDIR=$(MEMORY) )OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 20 -p no:langsmith_plugin

test: $(STAMP)  ## Run all tests except the simulated cluster
	$(PYTEST)

FAST := -m "not model and not java and not slow and not gpu"

test-fast: $(STAMP)  ## Run the tests that need neither a model nor Java
	$(PYTEST) $(FAST)

# These tests depend on the standard library: source of functions, processes, archives, dates. Tests
# that need torch are skipped if it is missing.
test-newer: $(STAMP)  ## Run the fast tests of tools, sources and commands
	PYTHONPATH=$(CURDIR) $(PYTEST) $(FAST) -p tests.without_torch \
	  tests/tools tests/toolformer/sources tests/dagster_project/test_bad_input.py

# Its deadlines assume one free core.
test-cluster: $(STAMP)  ## Test two Ray nodes with PostgreSQL and a shared folder; one is killed; 4 minutes
	$(BIN)/pytest tests/cluster -m cluster --capture=no

# FAULTS contains further arguments: `make faults FAULTS="--only kills"`.
faults: $(STAMP)  ## Inject kills, full disks, flipped bits; half an hour (SHORT=1: three minutes)
	$(BIN)/python -m tests.faults $(if $(SHORT),--short) $(FAULTS)

# BENCH contains further arguments: `make bench BENCH="--json figures.json"`.
bench: $(STAMP)  ## Compare the engine's speed with the literal method (QUICK=1 for a short run)
	$(BIN)/python -m benchmarks.engine $(if $(QUICK),--quick) $(BENCH)

docs: $(STAMP)  ## Regenerate docs/reference, the table of stages and the asset graph
	$(BIN)/python -m tests.generated

check: lint types  ## Check format, lint, spelling, types and imports, as CI does

# Two targets for CI: lint takes seconds, types two minutes on one core.
lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/typos
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/pyright

format: $(STAMP)  ## Format the code and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP)  ## Write the installed versions into requirements.lock
	@{ grep '^#' requirements.lock; $(BIN)/pip freeze --all --exclude-editable \
	  | grep '==' | grep -vE '^(torch|pip)==' | sort -f; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## Remove the environment; keeps data/
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
