.DEFAULT_GOAL := help
.PHONY: help setup check test test-slow quickstart bench coverage precision matrix wheels emoji emoji-seeds regen docs freeze clean

# Whatever starts; scripts/set_up.py then takes the best Python of this machine, unless it is named.
PYTHON3 := $(or $(PYTHON),python3)
export PYTHON
export VENV ?= .venv
export TRT
export AUTOMM_TRITON_HOME ?= $(CURDIR)/.venv-triton
PY := $(VENV)/bin/python
BIN := $(VENV)/bin

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## *' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:  ## make .venv and .venv-triton with all that the other targets need; quick when they are there
	@$(PYTHON3) scripts/set_up.py dev

quickstart: setup  ## train on 1,515 emoji, export, serve, ask, one table (TRT=1: engines for RTX cards too)
	@$(PY) -m examples.quickstart

check: setup  ## format, lint, types, import contracts, spelling, links
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint docker/*.Dockerfile; fi
	@$(PY) scripts/check_files.py

test: setup  ## the tests, the real Triton server among them (ARGS="-k name" passes options to pytest)
	@$(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

test-slow: setup  ## the tests that take minutes each
	@$(PY) -m pytest -q -m "slow and not gpu" $(ARGS)

bench: setup  ## latency of torch, bundle, raw session and Triton on the quickstart's bundle
	@$(PY) benchmarks/latency.py --json build/latency.json

coverage: setup  ## each family of encoder, fusion and task: export, compare, build; docs/coverage.md
	@OMP_NUM_THREADS=1 $(PY) -W ignore -m benchmarks.coverage

precision: setup  ## what fp16, bf16 and int8 cost on two real models: docs/results/precision.md
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.precision

matrix: setup  ## golden rows under eight ONNX Runtimes, 1.17 to the newest: docs/results/onnxruntime.md
	@$(PY) -m scripts.matrix --out docs/results/onnxruntime.md

wheels: setup  ## gather docker/wheels/, from which the images are built without a network
	@$(PY) scripts/gather_wheels.py

emoji: setup  ## make examples/data/emoji.zip anew from three npm packages (needs npm)
	@$(PY) scripts/make_emoji.py

emoji-seeds: setup  ## the table of docs/results/emoji.md: fused against each modality, three seeds
	@$(PY) -m benchmarks.emoji_modalities

regen: setup  ## write anew what is generated and committed; tests compare it
	@$(PY) -m scripts.regen_formats
	@$(PY) -m scripts.metrics_page
	@$(PY) -m scripts.migrating

docs: setup  ## run the README's code, check every link between pages
	@$(PY) -m pytest -q tests/test_readme.py tests/test_docs.py

freeze:  ## write the constraint files from the environments of `make setup` and of .ci/run
	@$(PY) scripts/freeze.py dev packaging > requirements/dev.txt
	@.venv-numpy1/bin/python scripts/freeze.py cpu,client,parquet,metrics \
		pytest pytest-xdist hypothesis packaging pandas > requirements/base-numpy1.txt

clean:  ## remove the environments and build/
	rm -rf .venv .venv-* build dist
