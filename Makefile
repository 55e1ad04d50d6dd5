# `make help` lists the targets. PYTHON=, DATA_DIR= and ARGS= can be set on the command line.
PYTHON ?= python3
DATA_DIR ?= data
ARGS ?=
ROWS ?= 1
ENTITY ?=
PROJECT ?= plainres
export DATA_DIR

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help
.PHONY: help setup reproduce-cifar reproduce-imagenet demo figures report claims verify dashboard notebooks docs bench test test-all test-lowest test-faults test-cluster test-gpu lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the tested versions (every other target does this when necessary)

# An incomplete environment has no .ready and is created again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: plainres requires Python 3.11 or later: choose one with PYTHON="; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[report,dev,notebooks,dashboard,terminal]'
	@touch $@

reproduce-cifar: setup ## train plain and residual nets on CIFAR-10, draw figures and Table 6 (ARGS=: options; STRICT=1: fail without CIFAR-10)
	@$(BIN)/python experiments/cifar10_depth.py $(ARGS)

reproduce-imagenet: setup ## the same on ImageNet, on the first GPUS= GPUs (ARGS=--plan prints the expected time)
	@$(if $(GPUS),CUDA_VISIBLE_DEVICES=$$(seq -s, 0 $$(($(GPUS) - 1)))) \
		$(BIN)/python experiments/imagenet_depth.py $(ARGS)
	@$(if $(GPUS),CUDA_VISIBLE_DEVICES=$$(seq -s, 0 $$(($(GPUS) - 1)))) \
		$(BIN)/python experiments/imagenet_shortcuts.py $(ARGS)

demo: setup ## run the same pipeline on the embedded demo set, offline, into results/demo
	@$(BIN)/python experiments/cifar10_depth.py --demo $(ARGS)

figures: setup ## redraw all figures and tables from the records, published and local, and the README's section
	@$(BIN)/plainres report results --readme README.md
	@for folder in $(foreach f,results/local results/demo,$(if $(wildcard $f/*/*/seed-*/run.json),$f)); do \
		$(BIN)/plainres report $$folder || exit; done

report: figures ## build results/REPORT.md and the self-contained page results/report.html (as `make figures` does)

claims: setup ## judge the paper's claims on the records and print the verdicts
	@$(BIN)/plainres claims results

verify: setup ## audit records: RECORD= (default: all published), ROWS= of 64 rows are trained again (0: compute nothing again)
	@$(BIN)/plainres verify $(RECORD) --rows $(ROWS) $(ARGS)

dashboard: setup ## save the W&B workspace and report (ENTITY=, PROJECT=; ARGS="--check FILE" sends nothing)
	@$(BIN)/plainres dashboard --entity "$(ENTITY)" --project "$(PROJECT)" $(ARGS)

notebooks: setup ## run the analysis notebooks on the records, in place
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

docs: setup ## build the documentation site into docs/_build/html (installs the extra `docs`)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[report,dev,notebooks,dashboard,terminal,docs]'
	@$(BIN)/python -m sphinx --quiet --fail-on-warning docs docs/_build/html

bench: setup ## compare speed with a stock Lightning loop, into results/local/bench
	@$(BIN)/plainres bench $(ARGS)

test: setup ## run the quick tests (those on CIFAR-10 itself require DATA_DIR=)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-all: setup ## run the quick and the slow tests
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not cluster" $(ARGS)

test-lowest: ## run the quick tests on the lowest versions of pyproject.toml, in an environment that is deleted afterwards
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT INT TERM && $(PYTHON) -m venv $$folder && \
		$$folder/bin/python -m pip install --quiet --disable-pip-version-check uv && \
		UV_CACHE_DIR=$$folder/cache $$folder/bin/uv pip install --quiet --python $$folder/bin/python \
			--resolution lowest-direct --editable '.[report,dev,notebooks,dashboard,terminal]' && \
		$$folder/bin/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-faults: setup ## kill a training 40 times and inject every other fault (`make test-all` kills twice)
	@KILLS=40 $(BIN)/python -m pytest -q -s -m "not cluster" tests/test_faults.py $(ARGS)

test-cluster: setup ## run the tests of the Ray launcher on a local cluster (installs the extra `cluster`)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[report,dev,notebooks,dashboard,terminal,cluster]'
	@$(BIN)/python -m pytest -q -m cluster $(ARGS)

test-gpu: setup ## run the tests that require a GPU
	@$(BIN)/python -m pytest -q -s -rs -W default -m gpu tests/test_accelerate.py $(ARGS)

lint: setup ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## remove the environment and all caches, but no records
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis docs/_build docs/notebooks
