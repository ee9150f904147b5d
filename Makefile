# Every command of this project. `make help` lists them.
.DEFAULT_GOAL := help
BIN := .venv/bin
CONFIG := pipeline/configs/movielens-100k.yaml
# A file's tests share what is expensive; files in order, so that the long ones do not come last.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

PEERS := .venv-peers

ROWS := 10000 100000 1000000
SHIPPED_ROWS := 100000 1000000 17359346

.PHONY: help setup demo test test-fast test-kubeflow test-beam test-cluster bench-speed bench-serving bench-accuracy bench-gate image lint format docs lock clean

help:  ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup:  ## Makes .venv from the lock that fits this machine (PYTHON=… chooses the interpreter)
	@requirements/setup.sh

demo: setup  ## Fetches MovieLens-100k and runs the whole pipeline on it
	@$(BIN)/tfx-recommender data movielens-100k
	@$(BIN)/tfx-recommender run $(CONFIG)

test: setup  ## Runs all tests
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: setup  ## Runs the unit and contract tests alone
	@$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE)

test-kubeflow: setup  ## Builds the image and runs the compiled pipeline in containers (Podman or Docker)
	@tests/container/run.sh

test-beam: setup  ## Runs Beam's steps on Prism, an engine behind the portable Job API (needs Go)
	@tests/beam/run.sh

test-cluster: setup  ## Applies the manifests to a real API server of Kubernetes and tests them there (needs Go)
	@tests/cluster/run.sh

bench-speed: setup  ## Compares with stock TFX, node by node, on generated data (SCALE=full: ours as shipped, to 17 million)
	@$(BIN)/python -m benchmarks.speed $(if $(filter full,$(SCALE)),$(SHIPPED_ROWS:%=--shipped %),$(ROWS:%=--rows %))

bench-serving: setup  ## Measures latency and throughput of served models (OPTIONS="--help" tells more)
	@$(BIN)/python -m benchmarks.serving $(OPTIONS)

bench-accuracy: setup $(PEERS)/made  ## Compares with the peers on MovieLens-100k (OPTIONS="--help" tells more)
	@$(BIN)/tfx-recommender data movielens-100k
	@$(BIN)/python -m benchmarks.accuracy $(OPTIONS)

bench-gate: setup  ## Retrains 200 times, simulates nights of the gate (half an hour; OPTIONS="--help" tells more)
	@$(BIN)/python -m benchmarks.gate $(OPTIONS)

$(PEERS)/made: requirements/peers.txt | setup
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	@$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --no-deps --require-hashes -r $<
	@touch $@

image:  ## Builds the image of all steps (BASE=… chooses another Debian 13 with Python 3.11)
	@kubeflow/build_image.sh

lint: setup  ## Checks style, types and the direction of imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy && $(BIN)/lint-imports --no-logo

format: setup  ## Formats the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: setup  ## Writes docs/settings.md, the reference of all settings, from the code
	@mkdir -p docs && $(BIN)/python -m tfx_recommender.pipeline.settings.reference > docs/settings.md

lock: setup  ## Resolves requirements/*.in anew (needs the network)
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

clean:  ## Removes .venv and caches; data, runs and served models stay
	@rm -rf .venv $(PEERS) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
