# Needs make and Python 3.11 or newer; everything else goes into .venv.
#   make demo ARGS="--architecture mss"     make test PYTHON=python3.13

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# Parsl finds its interchange and its workers on the PATH.
WITH_PATH := PATH="$(CURDIR)/$(BIN):$$PATH"

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs dist clean
.NOTPARALLEL:

help:
	@echo 'make demo    stream real images between two Parsl sites'
	@echo 'make test    run the tests with coverage'
	@echo 'make lint    ruff and mypy'
	@echo 'make docs    build the documentation into site/'
	@echo 'make dist    build the wheel and the source archive into dist/'
	@echo 'make clean   remove .venv and everything that was built'

demo: .venv/demo.stamp
	$(WITH_PATH) parsl-streaming demo $(ARGS)

test: .venv/test.stamp
	$(BIN)/coverage erase
	$(WITH_PATH) coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/lint.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: .venv/venv.stamp
	$(BIN)/pip install --quiet build
	rm -rf dist
	$(BIN)/python -m build --outdir dist

clean:
	rm -rf .venv dist site .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'parsl-streaming needs Python 3.11 or newer; "$(PYTHON)" is not.' >&2; \
	  echo 'Name one that is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '"$(PYTHON)" cannot make virtual environments: its venv module is missing.' >&2; \
	  echo 'Debian and Ubuntu keep it in a package of its own: apt-get install python3-venv' >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	@touch $@

# The install is editable: only a change of pyproject.toml asks for another.
.venv/%.stamp: pyproject.toml .venv/venv.stamp
	@echo 'Installing parsl-streaming[$*] into .venv (the first time takes a minute)'
	@$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
