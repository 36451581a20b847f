# Two commands: `make repro` (the whole pipeline) and `make test` (everything that is checked). Both set .venv up first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run in two processes of one thread each; a file stays in one process.
SIDE_BY_SIDE := -n 2 --dist loadfile

# No stage needs the network once the packages are there; nothing phones home; idle threads sleep.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := 1
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY := PASSIVE
# dvc.yaml calls `python`: the environment's own.
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help docs repro test test-all lint dag bench clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

repro: $(STAMP)  ## run the pipeline: what is up to date is skipped; ends with the table
	dvc repro
	@cat metrics/summary.md

test: lint  ## lint, types, import rules, tests and one run of the smoke profile
	OMP_NUM_THREADS=1 python -m pytest $(SIDE_BY_SIDE)

test-all: lint  ## the same with every case of the fault sweep (tests/faults)
	OMP_NUM_THREADS=1 python -m pytest -m "" $(SIDE_BY_SIDE)

lint: $(STAMP)  ## lint, format and types only
	ruff check .
	ruff format --check .
	mypy --strict csrdata stages benchmarks

dag: $(STAMP)  ## write dvc.yaml's code dependencies from the imports
	python -m csrdata.pipeline.dag

docs: $(STAMP)  ## write the pages that follow from the code and the record: map, command line, results
	python docs/write.py

bench: $(STAMP)  ## time search and publication against others (after `make repro`; nothing else should run beside it)
	python -m benchmarks.search
	python -m benchmarks.limits
	python -m benchmarks.publish

clean:  ## remove what tools leave behind; data, policies and the environment stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find benchmarks csrdata stages tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in seconds what takes pip minutes; where it cannot be had, pip does.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt uv || true
	if test -x $(BIN)/uv; \
	then $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[all,dev]'; \
	else $(BIN)/python -m pip install -c constraints.txt -e '.[all,dev]'; fi
	touch $(STAMP)
