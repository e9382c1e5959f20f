# Every target makes its own environment: .venv, or .venv-lowest for the lowest versions of the
# dependencies. A second run reinstalls nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
# One more process than cores: tests of several ranks wait for each other.
PYTEST := -m pytest -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --dist worksteal --durations=15

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest check format faults slow bench docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[dev]'
	touch $@

$(VENV)/.package: pyproject.toml constraints.txt # all that a user needs, and no more
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast-cpu]'
	touch $@

demo: $(VENV)/.package ## synthetic data to a trained, evaluated and predicting model, under 3 minutes
	$(BIN)/criteo-stream demo --out demo-output --force

test: check ## lint, types and the whole test suite
	$(BIN)/python $(PYTEST)

test-lowest: $(LOWEST)/.installed ## the test suite with the lowest versions of the dependencies
	$(LOWEST)/bin/python $(PYTEST)

check: $(STAMP) ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

faults: $(STAMP) ## every test that kills processes and damages files, the long ones too
	$(BIN)/python -m pytest -m "not gpu" tests/faults tests/distributed tests/train tests/runs/test_checkpoint.py

slow: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

bench: $(STAMP) ## every benchmark in a quick setting
	$(BIN)/python -m benchmarks.run_all

docs: $(STAMP) ## the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "read it: python3 -m http.server --directory site"

clean: ## remove the environment and everything generated
	rm -rf $(VENV) $(LOWEST) demo-output site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
