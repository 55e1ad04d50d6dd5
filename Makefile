# `make help` lists the targets. PYTHON=, DATA_DIR= and ARGS= can be given on the command line.
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
.PHONY: help setup reproduce-cifar reproduce-imagenet demo figures report claims verify dashboard notebooks bench test test-faults test-cluster test-gpu lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## build .venv with the tested versions (done by every other target when needed)

# A half-built environment has no .ready and is built anew.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: plainres needs Python 3.11 or 3.12; name one with PYTHON="; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,notebooks,dashboard]'
	@touch $@

reproduce-cifar: setup ## plain against residual nets on CIFAR-10: train, draw figures, Table 6 (ARGS= for options)
	@$(BIN)/python experiments/cifar10_depth.py $(ARGS)

reproduce-imagenet: setup ## the same on ImageNet, DATA_DIR= and GPUS= say where (ARGS=--plan: GPU-hours first)
	@$(if $(GPUS),CUDA_VISIBLE_DEVICES=$$(seq -s, 0 $$(($(GPUS) - 1)))) \
		$(BIN)/python experiments/imagenet_depth.py $(ARGS)
	@$(if $(GPUS),CUDA_VISIBLE_DEVICES=$$(seq -s, 0 $$(($(GPUS) - 1)))) \
		$(BIN)/python experiments/imagenet_shortcuts.py $(ARGS)

demo: setup ## the same pipeline on the embedded demo set, offline, in under 3 minutes, into results/demo
	@$(BIN)/python experiments/cifar10_depth.py --demo $(ARGS)

figures: setup ## redraw every figure and table from the records: the published, the README's, your own
	@$(BIN)/python -m plainres.report results --readme README.md
	@for own in $(wildcard results/local results/demo); do $(BIN)/python -m plainres.report $$own; done

report: figures ## also write results/REPORT.md and the self-contained results/report.html (done by `make figures`)

claims: setup ## judge the paper's claims on the records; fails when one is no longer reproduced
	@$(BIN)/python -m plainres.report results --claims

verify: setup ## check records: RECORD= (default: all published), ROWS= of 64 rows are trained again (0: none)
	@$(BIN)/python -m plainres.verify $(RECORD) --rows $(ROWS) $(ARGS)

dashboard: setup ## save the W&B workspace and report (ENTITY=, PROJECT=; ARGS="--check FILE" sends nothing)
	@$(BIN)/python -m plainres.tracking.dashboard --entity "$(ENTITY)" --project "$(PROJECT)" $(ARGS)

notebooks: setup ## run the analysis notebooks on the records, in place
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb

bench: setup ## time an iteration against a stock Lightning loop, into results/local/bench (ARGS=--full for more)
	@$(BIN)/python -m plainres.bench $(ARGS)

test: setup ## run the tests (those of real CIFAR-10 want DATA_DIR=)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-faults: setup ## kill a training 40 times and inject every other fault (the short form is in `make test`)
	@KILLS=40 $(BIN)/python -m pytest -q -s tests/test_faults.py $(ARGS)

test-cluster: setup ## run the tests of the Ray launcher on a local cluster (installs the extra `cluster`)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,notebooks,dashboard,cluster]'
	@$(BIN)/python -m pytest -q -m cluster $(ARGS)

test-gpu: setup ## the tests of the CUDA graph, on a machine with a GPU
	@$(BIN)/python -m pytest -q -s -rs -W default -m gpu tests/test_engines.py $(ARGS)

lint: setup ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean: ## remove the environment and caches; records stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
