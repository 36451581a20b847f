# Two commands: `make repro` (the whole pipeline) and `make test` (everything that is checked). Both set .venv up first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run in two processes with one thread each; all tests of a file run in the same process. The order of the files is that
# of tests/conftest.py: the longest first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

# No stage needs the network after the packages are installed. No telemetry is sent. Idle OpenMP threads sleep.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := 1
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY := PASSIVE
# Keep the bytecode of imported modules, also where the environment says not to: without it, every process that runs a model
# compiles about 3,700 modules, which takes twice as long as the rest of its start.
export PYTHONDONTWRITEBYTECODE :=
# dvc.yaml calls `python`: it must be the one of the environment.
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
# Arms of `make ablation`, by default all: make ablation ARMS='paper no-anchor'; QUICK=1 runs a few at small sizes.
ARMS ?=
JOBS ?= 1

.PHONY: ablation help dist docs families final repro test test-all lint dag bench clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

repro: $(STAMP)  ## run the pipeline, skip what is up to date, print the table
	dvc repro
	@cat metrics/summary.md

final: $(STAMP)  ## evaluate base and last policy on the test split: once, when all settings are final (TEST_SEED=N: other images)
	python -m csrdata.pipeline.final $(if $(TEST_SEED),--test-seed $(TEST_SEED))
	@cat metrics/final.md

ablation: $(STAMP)  ## run every arm and write their table (hours, resumable; QUICK=1: a few small arms, 11 to 17 minutes)
	python -m csrdata.ablation run $(ARMS) --jobs $(JOBS) $(if $(QUICK),--quick)
	python -m csrdata.ablation table $(if $(QUICK),--quick)

test: lint  ## lint, types, import rules, tests and one iteration of the smoke profile
	OMP_NUM_THREADS=1 python -m pytest $(SIDE_BY_SIDE)

test-all: lint  ## the same, with every case of the fault sweep (tests/faults)
	OMP_NUM_THREADS=1 python -m pytest -m "" $(SIDE_BY_SIDE)

lint: $(STAMP)  ## lint, format and types only
	ruff check .
	ruff format --check .
	mypy --strict csrdata stages benchmarks

dag: $(STAMP)  ## write the code dependencies in dvc.yaml from the imports
	python -m csrdata.pipeline.dag

docs: $(STAMP)  ## write the generated pages: map, command line, results, table of the README
	python docs/write.py

families: $(STAMP)  ## try every family of models and write docs/families.json, then the pages
	python -m tests.family_way
	python docs/write.py

dist: $(STAMP)  ## build the wheel into dist/
	python -m hatchling build -t wheel

bench: $(STAMP)  ## time search and publication against others (after `make repro`; run nothing else meanwhile)
	python -m benchmarks.search
	python -m benchmarks.limits
	python -m benchmarks.publish

clean:  ## remove caches of tools and of Python; data, policies and the environment stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find benchmarks csrdata stages tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in seconds what takes pip minutes; without uv, pip installs.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt uv || true
	if test -x $(BIN)/uv; \
	then $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[all,dev]'; \
	else $(BIN)/python -m pip install -c constraints.txt -e '.[all,dev]'; fi
	touch $(STAMP)
