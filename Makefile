# `make` prints the targets. Two are the README's promise: `make run` and `make test`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test test-bare faults faults-cluster sabotage bench path fmt lint check docs clean

VENV   := .venv
BIN    := $(VENV)/bin
# The first Python that is new enough; `make PYTHON=/path/to/python run` takes another.
PYTHON ?= $(shell scripts/find-python)
# How many tests run side by side. They wait more than they compute, and each process starts its own broker.
JOBS   ?= 3
# The tests that `make test` runs; all of them without it.
TESTS  ?=
# The Debian releases that `make test-bare` unpacks.
RELEASES ?= bookworm trixie
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/.dev $(VENV)/.docs ## install what running, testing and checking need

run: $(VENV)/.run ## install what running needs and start the bridge; Ctrl-C ends it
	@exec $(BIN)/bridge up

test: $(VENV)/.dev $(VENV)/.docs ## install what testing needs, RabbitMQ, PostgreSQL and pgbouncer included, and run every test
	@scripts/install-test-tools $(BIN)
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(TESTS)

test-bare: ## run `make run` and `make test` in a bare Debian 12 and a bare Debian 13 (needs root and mmdebstrap)
	@scripts/test-bare $(RELEASES)

faults: $(VENV)/.dev ## kill, cut, freeze and starve the bridge for an hour and more, and write down what it made of it
	@scripts/install-test-tools $(BIN)
	@$(BIN)/pytest tests/faults tests/acceptance/test_crashes.py --faults

faults-cluster: $(VENV)/.dev ## kill, cut off and freeze nodes of a cluster under load, for some ten minutes (RABBITMQ=path: another release)
	@scripts/install-test-tools $(BIN)
	@$(BIN)/pytest tests/faults/cluster --faults-cluster

sabotage: $(VENV)/.dev ## break the bridge on purpose, and show which test notices
	@scripts/install-test-tools $(BIN)
	@$(BIN)/python -m tests.faults.sabotage

bench: $(VENV)/.dev $(VENV)-peers/.done ## measure the bridge beside Celery, Dramatiq and others, and how it grows, and write it down
	@scripts/install-test-tools $(BIN)
	@$(BIN)/python -m benchmarks --write
	@$(BIN)/python -m benchmarks.fleet --write

path: $(VENV)/.dev ## show and count the files that one command and one webhook pass through, in a real run
	@scripts/install-test-tools $(BIN)
	@$(BIN)/python -m benchmarks.path

fmt: $(VENV)/.dev ## format, and fix the lint errors that can be fixed automatically
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## look for mistakes
	@$(BIN)/ruff check .

check: $(VENV)/.dev ## check format, lint, types, layers, words and the files in deploy/; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check-words
	@$(BIN)/pytest --quiet tests/unit/test_deploy.py tests/unit/test_deploy_containers.py tests/unit/test_deploy_kubernetes.py

docs: $(VENV)/.docs ## build the documentation site into build/docs; a broken link is an error
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs -d build/docs-cache . build/docs
	@echo "Open build/docs/index.html"

clean: ## remove the environment and every cache
	@rm -rf $(VENV) $(VENV)-peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: an environment is as old as the pyproject.toml it was made from.
$(VENV)/.run: pyproject.toml
	@scripts/make-venv $(VENV) "$(PYTHON)"
	@echo "Installing what running needs into $(VENV)"
	@$(PIP) install --editable '.[server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what testing and checking need into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@echo "Installing what building the documentation needs into $(VENV)"
	@$(PIP) install --editable '.[docs]'
	@touch $@

# The peers' environment; nothing of the bridge needs it.
$(VENV)-peers/.done: benchmarks/peers/requirements.txt
	@scripts/make-venv $(VENV)-peers "$(PYTHON)"
	@echo "Installing what the bridge is measured beside into $(VENV)-peers"
	@$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@
