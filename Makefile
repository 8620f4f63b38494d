# `make help` lists the targets. `PYTHON=python3.12 make demo` uses another interpreter.
# Where there is no make, as on Windows, in a virtual environment (python -m venv .venv, then .venv\Scripts\activate):
#   demo       pip install -e .            and then  python -m kindling demo
#   test       pip install -e ".[dev]"     and then  python -m pytest -n auto -m "not slow"
#   test-all   the same, and then  python -m pytest -n auto
#   lint       the same, and then  ruff check, ruff format --check, mypy, lint-imports
ifneq ($(origin PYTHON), undefined)
  # One was asked for: a .venv of another version is made anew.
  $(shell test "$$(.venv/bin/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" || rm -rf .venv)
endif
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test test-all lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1  \t\2/p' $(MAKEFILE_LIST)

demo: .venv/installed  ## train a ResNet on real handwritten digits, test it, say where everything is
	$(BIN)/kindling demo
	@echo "in a new shell, first: source .venv/bin/activate"

test: .venv/installed-dev  ## run the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: .venv/installed-dev  ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/installed-dev  ## check style, types, and what imports what
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove .venv and caches; runs and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | $(BIN)/python
	@echo "installing (PyTorch is large: some minutes the first time) …"
	$(PIP) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e ".[dev]"
	@touch $@

-include docs/docs.mk
