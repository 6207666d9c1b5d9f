# Everything sets itself up: `make demo` in a fresh clone is enough. `make help` lists the targets.
#
# PYTHON  interpreter that makes the virtual environment (3.10 to 3.14)
# VENV    where the virtual environment is, or shall be made
# METAALIGN_DETECTRON2  auto, upstream or wheel (tools/install_detectron2.py)
# PYTEST_ARGS  further arguments of `make test`, e.g. PYTEST_ARGS="-k lookahead"

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

VENV_PYTHON := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-classification test fuzz lint docs clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

setup: ## virtual environment, pinned requirements, Detectron2, this package
	@tools/setup.sh "$(VENV)" "$(PYTHON)"

demo: setup ## adapt a detector to the miniature watercolours; table and pictures in output/demo
	@"$(VENV_PYTHON)" -m metaalign_det.cli demo detection

demo-classification: setup ## adapt a digit classifier to photographs; table in output
	@"$(VENV_PYTHON)" -m metaalign_det.cli demo classification

# One thread per process and two processes: faster than two threads in one, and the same sums
# on every machine.
test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: setup ## all tests
	@"$(VENV_PYTHON)" -m pytest -q -n 2 --timeout 300 $(PYTEST_ARGS) tests

fuzz: export HYPOTHESIS_PROFILE = fuzz
fuzz: export OMP_NUM_THREADS = 1
fuzz: setup ## each reader of files against 10,000 damaged inputs, in half an hour or more
	@"$(VENV_PYTHON)" -m pytest -q -n 2 $(PYTEST_ARGS) tests/fuzz

lint: setup ## ruff: rules and formatting; mypy: types
	@"$(VENV_PYTHON)" -m ruff check .
	@"$(VENV_PYTHON)" -m ruff format --check .
	@"$(VENV_PYTHON)" -m mypy

docs: export NO_MKDOCS_2_WARNING = 1
docs: setup ## documents and API reference as pages in site/; a warning is an error
	@"$(VENV_PYTHON)" -m pip install -q -c requirements/constraints.txt -r requirements/docs.txt
	@"$(VENV_PYTHON)" -m mkdocs build -q --strict

clean: ## remove build products and caches; datasets, output and the environment stay
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	@find metaalign_det benchmarks tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the environment and output; datasets stay
	@rm -rf output
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
