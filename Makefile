# Every target sets up .venv first, once, and again when pyproject.toml or constraints.txt change.

PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell grep '^torch==' constraints.txt)
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: help venv demo test lint format

help:
	@echo "make demo    run the recipe smoke on a real model, from the student to demo/run/report"
	@echo "make test    lint, types, layers and all tests (tests/real needs a Hub: see CONTRIBUTING.md)"
	@echo "make lint    the static checks of make test alone"
	@echo "make format  let ruff mend formatting and imports"
	@echo "make venv    only install into .venv"

venv: .venv/.installed

# torch goes first and pinned, so that nothing else can pull in another build of it.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "distill-eval needs Python 3.11 or newer; this is $$($(PYTHON) --version). Type: make PYTHON=python3.11"; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: venv
	$(BIN)/python scripts/demo.py

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vulture
	$(BIN)/interrogate distill_eval

# PYTEST_ARGS narrows the run: make test PYTEST_ARGS='tests/unit -x'
# A file stays in one process, so that what its tests share is made once; in the order of their names the longest come early.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
