# `make` lists the targets. Continuous integration runs `make test` and nothing else.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PACKAGES := wmgym agents model
SOURCES := $(PACKAGES) experiments tests

# Arguments: make demo DEMO_ARGS="--seed 1" (of another --checkpoint with --beside after it, for no agent that ships fits); make test PYTEST_ARGS="-x -k memory"; WORKERS=0 for one process
DEMO_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= auto
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 4

# Read by scripts/setup.sh: the interpreter to use, and a pip index to take torch from.
PYTHON ?=
TORCH_INDEX ?=
export PYTHON TORCH_INDEX

.DEFAULT_GOAL := help
.PHONY: help setup demo checkpoint memory test check test-all test-base pytest lint type imports format doctest docs clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with pinned dependencies and check rendering (PYTHON=, TORCH_INDEX= to choose)

$(STAMP): setup.cfg pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

demo: $(STAMP) ## train PPO in the shipped dream, compare it and an agent that ships with the real maze: 10 minutes on 2 cores
	$(BIN)/python experiments/dream_ppo.py --preset demo --beside pretrained-clone $(DEMO_ARGS)

checkpoint: $(STAMP) ## record the maze, train a world model and measure it; goes on (FOLDER=, EPISODES=, MINUTES=, PRESET=, PRECISION=, DEVICES=, START_FROM=, TEACH_MINUTES=)
	$(MAKE) --no-print-directory -f scripts/checkpoint.mk

memory: $(STAMP) ## train small models of every backbone, minutes of a core each, and compare their memory (WORLD=, STEPS=, SEEDS=, SYSTEMS=)
	$(MAKE) --no-print-directory -f scripts/memory.mk -j $(shell nproc)

test: lint type imports pytest ## everything CI checks

check: test ## the same as test

test-all: lint type imports ## test, with the slow and GPU tests too
	$(PYTEST) --doctest-modules -m "" tests $(PACKAGES) $(PYTEST_ARGS)

test-base: ## a plain installation without extras in its own environment: imports, and dreams from the shipped checkpoint
	rm -rf .venv-base build
	SKIP_GL=1 scripts/setup.sh .venv-base .
	cd / && $(CURDIR)/.venv-base/bin/python -P -W error $(CURDIR)/tests/base_install.py
	rm -rf .venv-base build

pytest: $(STAMP) ## the default tests and the examples in docstrings
	$(PYTEST) --doctest-modules tests $(PACKAGES) $(PYTEST_ARGS)

lint: $(STAMP) ## ruff and codespell
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/codespell

type: $(STAMP) ## mypy --strict on the three packages
	$(BIN)/mypy

imports: $(STAMP) ## the arrows between the packages
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

doctest: $(STAMP) ## the examples in docstrings only
	$(BIN)/pytest --doctest-modules $(PACKAGES)

docs: $(STAMP) ## check that links, files and make targets named in the Markdown pages exist
	$(BIN)/pytest tests/test_docs.py

clean: ## remove environments, caches and builds
	rm -rf $(VENV) .venv-base build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf *.egg-info .coverage htmlcov
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
