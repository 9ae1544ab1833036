# Every target works from a fresh clone: they call the environment that `install` makes.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin
REPOSITORY ?= model_repository
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
INSTALLED := $(VENV)/.installed
GENERATED := $(shell grep -rl --include=*.md '\[\[\[cog' docs)

help:  ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Make .venv with tritongen, its dependencies and the development tools

# pip tells of downloads of a megabyte or more, which take most of the time, and of the installation at the end.
PIP_INSTALL = PYTHONUNBUFFERED=1 $(BIN)/pip install --disable-pip-version-check --progress-bar off
PIP_PROGRESS = sed -un -e '/ MB)/p' -e 's/^Installing collected.*/  Installing/p'

# torch first and by number: an index that has a CPU build of it gives that one.
$(INSTALLED): pyproject.toml
	@echo "1 of 3: an environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "2 of 3: torch"
	@$(PIP_INSTALL) torch==2.13.0 | $(PIP_PROGRESS)
	@echo "3 of 3: tritongen, its dependencies and the development tools"
	@$(PIP_INSTALL) --editable '.[dev]' | $(PIP_PROGRESS)
	@touch $@

demo: $(INSTALLED)  ## Build all ten networks, serve them, classify a photograph, measure, print the table
	examples/demo.sh $(BIN)/tritongen $(REPOSITORY)

# Two workers. tests/conftest.py groups the tests and puts the groups that take longest first.
WORKERS := --numprocesses=2 --dist=loadgroup --no-loadscope-reorder --durations=25

test: $(INSTALLED)  ## All tests, with the real tritonserver, perf_analyzer and Chromium
	$(BIN)/pytest $(WORKERS)

test-fast: $(INSTALLED)  ## The tests that start neither a server nor a browser
	$(BIN)/pytest -m 'not server and not browser and not slow and not nightly' $(WORKERS)

test-slow: $(INSTALLED)  ## Builds that are killed at many moments, many models
	$(BIN)/pytest -m slow $(WORKERS)

test-nightly: $(INSTALLED)  ## Many more random cases
	$(BIN)/pytest -m nightly $(WORKERS)

lint: $(INSTALLED)  ## ruff, mypy, import contracts, generated parts of the docs, the documentation site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check -I docs $(GENERATED)
	site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && $(MKDOCS) build --quiet --strict --site-dir "$$site"

docs: $(INSTALLED)  ## Write the generated parts and pictures of the docs, and build the site in site/
	$(BIN)/python docs/draw.py
	$(BIN)/cog -r -I docs $(GENERATED)
	$(MKDOCS) build --quiet --strict

bench: $(INSTALLED)  ## Our graphs against the plain export, serving against ONNX Runtime, building against the plain loop, many models
	$(BIN)/python bench/rewrites.py
	$(BIN)/python bench/serving.py
	$(BIN)/python bench/building.py
	$(BIN)/python bench/checking.py
	$(BIN)/python bench/many.py

.PHONY: help install demo test test-fast test-slow test-nightly lint docs bench
