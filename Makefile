# `make demo` and `make test` do everything on a machine with Python 3.11 to 3.13; uv is used where it is found.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTEST := $(BIN)/python -m pytest -q
TEST_WORKERS ?= 3

export TF_CPP_MIN_LOG_LEVEL ?= 3

ifneq ($(UV),)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
MAKE_VENV = $(UV) venv --quiet --seed --python $(PYTHON) $(VENV)
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
MAKE_VENV = $(PYTHON) -m venv $(VENV)
endif

.PHONY: demo test lint types unit slow docs bench studies study-auto-po2 format clean

demo: $(VENV)/.installed
	$(BIN)/mpsearch demo

test: lint
	@$(MAKE) --no-print-directory -j 2 types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# several workers share the cores, so that TensorFlow's own threads would only wait for each other
unit: export TF_NUM_INTRAOP_THREADS = 1
unit: export TF_NUM_INTEROP_THREADS = 1
# tests start dozens of processes that import TensorFlow: 6 s each, but 17 s where Python may not keep what it compiled
unit: export PYTHONDONTWRITEBYTECODE =
unit: $(VENV)/.installed-dev
	$(PYTEST) -n $(TEST_WORKERS) --dist worksteal

slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo 'build/docs/index.html'

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/step.py --model resnet8
	$(BIN)/python benchmarks/step.py --model mbv2 --rounds 12 --steps 2

studies: study-auto-po2
	$(BIN)/python studies/make_reports.py

study-auto-po2: $(VENV)/.installed-dev
	$(BIN)/python studies/make_auto_po2.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'mpsearch needs Python 3.11 to 3.13, but "$(PYTHON)" is none: make PYTHON=python3.12 …' >&2; exit 1; }
	$(MAKE_VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --constraint constraints.txt --editable '.[dev,jax]'
	touch $@ $(VENV)/.installed
