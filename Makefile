# Every target works from a fresh clone: they call the environment that `install` makes.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
REPOSITORY ?= model_repository
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
INSTALLED := $(VENV)/.installed
GENERATED := $(shell grep -rl --include=*.md '\[\[\[cog' docs)

help:  ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Make .venv with tritongen, its dependencies and the development tools

# torch first and by number: an index that has a CPU build of it gives that one.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(INSTALLED)  ## Build all ten networks, serve them, classify a photograph, measure, print the table
	examples/demo.sh $(BIN)/tritongen $(REPOSITORY)

test: test-fast  ## All tests, with the real tritonserver, perf_analyzer and Chromium
	$(BIN)/pytest -m '(server or browser) and not slow'

test-fast: $(INSTALLED)  ## The tests that start neither a server nor a browser
	$(BIN)/pytest -m 'not server and not browser and not slow' --numprocesses=2 --dist=loadfile

test-slow: $(INSTALLED)  ## Builds that are killed at many moments, many models
	$(BIN)/pytest -m slow --numprocesses=2

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

.PHONY: help install demo test test-fast test-slow lint docs bench
