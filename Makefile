# Everything a person needs from a clean clone; each target first sets up its own environment.
#   make quickstart   synthetic aerial scenes -> EGMIM pretraining -> segmentation -> table and pictures
#   make test         lint and test suite
#   make lint         lint alone
#   make clean        remove what builds and tests left (work_dirs/ and data/ stay)
# Settings: PYTHON (3.10-3.12), VENV (where the environment is), PIP_ARGS (extra arguments of pip
# install, e.g. another package index), PYTEST_ARGS, QUICKSTART_ARGS.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
QUICKSTART_ARGS ?=

# Touched when an installation has succeeded: an interrupted one is taken up again.
STAMP := $(VENV)/.egmim_mm-installed
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint clean

help:
	@sed -n '2,7s/^# \{0,1\}//p' Makefile

install: $(STAMP)

$(STAMP): setup.py pyproject.toml requirements/constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "'$(PYTHON)' not found. Install Python 3.10, 3.11 or 3.12, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@if [ ! -x $(RUN) ]; then \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	    echo "$$($(PYTHON) --version 2>&1) is not supported: egmim_mm needs Python 3.10, 3.11 or 3.12."; \
	    echo "Name one that is installed, for example: make PYTHON=python3.11"; exit 1; }; \
	  echo "[1/2] Creating the environment $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(VENV) || { \
	    rm -rf $(VENV); \
	    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu its modules are in the package python3-venv."; exit 1; }; \
	fi
	@echo "[2/2] Installing PyTorch, the OpenMMLab stack and egmim_mm into $(VENV)."
	@echo "      Once only: 3 to 15 minutes, about 6 GB on disk with the CUDA build of PyTorch. pip stays silent meanwhile."
	@# One call, so that pip chooses torch and torchvision together and as constrained.
	@start=$$(date +%s); \
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c requirements/constraints.txt \
	  torch torchvision -e '.[dev]' \
	&& echo "      Installed in $$(( $$(date +%s) - start )) s."
	@touch $@

quickstart: $(STAMP)
	$(RUN) tools/quickstart.py $(QUICKSTART_ARGS)

lint: $(STAMP)
	$(RUN) -m ruff check .

# Two processes with one thread each: on two cores faster than one process with two threads.
test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --durations=10 $(PYTEST_ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
