# Every target sets up what it needs: an environment in .venv with the versions of requirements.lock.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEPENDENCIES := $(VENV)/dependencies
TORCH_VERSION := 2.13.0
# Which build of PyTorch: cpu, default (on Linux the CUDA build, several GB), none (for test-newer
# alone) or auto: default where an NVIDIA driver is found, else cpu.
TORCH ?= auto
TORCH_BUILD := $(if $(filter auto,$(TORCH)),$(if $(shell command -v nvidia-smi 2>/dev/null),default,cpu),$(TORCH))
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

export TOOLFORMER_HOME ?= $(CURDIR)/data
export DAGSTER_HOME := $(or $(TOOLFORMER_CACHE),$(TOOLFORMER_HOME))/dagster
# Nothing is fetched from a model hub at run time.
export HF_HUB_OFFLINE := 1
# Python compiles what it imports. Most modules that pip installs are never imported.
export PIP_COMPILE ?= 0
# Threads spin briefly when they wait for each other, then sleep: spinning for long, as is the
# default, slows two runs on the same cores down tenfold; sleeping at once halves the speed of one.
export GOMP_SPINCOUNT ?= 10000
UI_PORT ?= 3000
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup dependencies demo ui test test-fast test-newer test-cluster faults bench docs check lint types format lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make the environment (done by every other target when needed)

# Apart, for the container: most of it is made anew for other versions only, and not for other code.
dependencies: $(DEPENDENCIES)  ## The environment without the project itself

# torch first and apart. With the CPU index unreachable, pip goes on with what it knows from
# elsewhere; --retries 0 keeps that short. The CUDA build needs its dependencies.
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
# A Python for which no CPU build was found has the CUDA build, which needs what it declares.
	@$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(BIN)/pip install --quiet -c requirements.lock torch==$(TORCH_VERSION)
endif
	@touch $@

$(STAMP): $(DEPENDENCIES) pyproject.toml
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## The whole pipeline on the embedded model and texts, in minutes
	$(BIN)/toolformer recipe demo

# Dagster wants an absolute path. The home's own dagster.yaml is never replaced.
ui: $(STAMP)  ## `dagster dev` on the loopback address (UI_PORT=3000)
	@mkdir -p "$$DAGSTER_HOME"
	@test -e "$$DAGSTER_HOME/dagster.yaml" || cp dagster_project/dagster.yaml "$$DAGSTER_HOME"
	DAGSTER_HOME="$$(cd "$$DAGSTER_HOME" && pwd)" $(BIN)/dagster dev --host 127.0.0.1 --port $(UI_PORT)

# Two tests at a time, each with one thread: two with two threads would wait for each other's.
# Files come in their order: those of tests/assets take longest, and at the end one worker would be
# left alone with them.
# Their files are in memory where that has room: each commit to a database waits for a disk.
ifndef TMPDIR
MEMORY := $(shell awk '/^MemAvailable/ { exit $$2 < 8 * 2 ^ 20 }' /proc/meminfo 2>/dev/null \
  && df --output=avail -k /dev/shm 2>/dev/null | awk 'END { exit $$1 < 4 * 2 ^ 20 }' && echo /dev/shm)
endif
PYTEST := $(if $(MEMORY),TMPDIR=$(MEMORY) )OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 20 -p no:langsmith_plugin

test: $(STAMP)  ## All tests but the simulated cluster
	$(PYTEST)

FAST := -m "not model and not java and not slow and not gpu"

test-fast: $(STAMP)  ## Tests without model and Java, under a minute
	$(PYTEST) $(FAST)

# Where the standard library's own behaviour shows: source of functions, processes, archives, dates.
# What needs torch is skipped where there is none.
test-newer: $(STAMP)  ## The fast tests of tools, sources and commands
	PYTHONPATH=$(CURDIR) $(PYTEST) $(FAST) -p tests.without_torch \
	  tests/tools tests/toolformer/sources tests/dagster_project/test_bad_input.py

# Its deadlines are those of a machine of which it has a core.
test-cluster: $(STAMP)  ## Two nodes of Ray with PostgreSQL and a shared folder, one is killed; 4 minutes
	$(BIN)/pytest tests/cluster -m cluster --capture=no

# FAULTS holds further arguments: `make faults FAULTS="--only kills"`.
faults: $(STAMP)  ## Kills, full disks, crossings, flipped bits; half an hour (SHORT=1: three minutes)
	$(BIN)/python -m tests.faults $(if $(SHORT),--short) $(FAULTS)

# BENCH holds further arguments: `make bench BENCH="--json figures.json"`.
bench: $(STAMP)  ## Engine against the literal one (QUICK=1: a look)
	$(BIN)/python -m benchmarks.engine $(if $(QUICK),--quick) $(BENCH)

docs: $(STAMP)  ## Write what is made from the code: docs/reference, table of stages, asset graph
	$(BIN)/python -m tests.generated

check: lint types  ## Format, lint, spelling, types, import rules: what CI checks beside the tests

# Apart for CI: seconds, and two minutes on one core.
lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/typos
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/pyright

format: $(STAMP)  ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP)  ## Write the versions installed now into requirements.lock
	@{ grep '^#' requirements.lock; $(BIN)/pip freeze --all --exclude-editable \
	  | grep '==' | grep -vE '^(torch|pip)==' | sort -f; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## Remove the environment; what was made at run time (data/) stays
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
