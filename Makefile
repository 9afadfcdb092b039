# Everything that people do here, from a fresh clone on: `make` lists it. Each target does its own set-up, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PINS := pyproject.toml constraints.txt

# Tests wait more than they compute, so there are more processes that run them than a small machine has cores.
# WORKERS=0 runs them in one process, as `-s` needs it.
WORKERS ?= 4

DOCKER ?= docker
BASE ?= python:3.13-slim-bookworm
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# Tests start thousands of programs, and none of them shall compile what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE

# Tools that were installed for this tree come first; servers of Debian live in sbin, which not every PATH has.
export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin

.DEFAULT_GOAL := help
.PHONY: help install demo run test torture fuzz check format bench protos contract image image-test cluster-test pins clean

help: ## Lists the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/runtime.stamp ## Makes .venv with the command `trunkline`.
	@echo "ready: $(BIN)/trunkline --help"

demo: $(VENV)/runtime.stamp ## Real work through three programs, ending in a table. ARGS="DIR" for another folder.
	$(BIN)/trunkline demo $(ARGS)

run: $(VENV)/runtime.stamp ## Starts bus, state and sidecar in this terminal (trunkline up).
	$(BIN)/trunkline up $(ARGS)

test: $(VENV)/dev.stamp ## Runs all tests against real programs. ARGS="tests/house -k name" for some, WORKERS=0 for one process.
	@$(BIN)/python scripts/tools.py grpcurl redis-server valkey-server nats-server socat autogen kustomize helm compose-spec promtool go protoc-gen-go protoc-gen-go-grpc node typescript java mvn cargo
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

torture: $(VENV)/dev.stamp ## Kills everything at random for 12 minutes, while handlers end in every way; nothing may be lost. ARGS="--seconds 3600 --seed 7".
	$(BIN)/python -m tests.torture $(ARGS)

fuzz: $(VENV)/fuzz.stamp ## Feeds what comes from outside with anything, a minute each. ARGS="--target calls --seconds 3600 --corpus DIR".
	$(BIN)/python -m tests.fuzz $(ARGS)

check: $(VENV)/dev.stamp ## Format, lint, types, protos, generated code, import rules. Changes nothing.
	@$(BIN)/python scripts/tools.py go protoc-gen-go protoc-gen-go-grpc node typescript cargo
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/buf format protos --diff --exit-code
	$(BIN)/buf breaking protos --against protos/contract.txtpb
	$(BIN)/python scripts/generate_protos.py --check
	$(BIN)/python scripts/check_imports.py

format: $(VENV)/dev.stamp ## Formats the code and repairs what the linters can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format protos --write

bench: $(VENV)/bench.stamp ## Measures beside the peers, writes bench-results.json. ARGS="--only state-get --runs 5".
	@$(BIN)/python scripts/tools.py nats-server redis-server autogen
	$(BIN)/python -m scripts.bench $(ARGS)

protos: $(VENV)/dev.stamp ## Generates each language's code from protos/: clients/python/trunkline/v1, clients/go/v1, clients/typescript/src/gen, clients/rust/src/gen.
	@$(BIN)/python scripts/tools.py go protoc-gen-go protoc-gen-go-grpc node typescript cargo
	$(BIN)/python scripts/generate_protos.py

contract: $(VENV)/dev.stamp ## Declares what protos/ say as the contract that `make check` holds from then on; refuses what breaks the one before.
	$(BIN)/buf breaking protos --against protos/contract.txtpb
	$(BIN)/buf build protos --as-file-descriptor-set --exclude-source-info --output protos/contract.txtpb

image: ## Builds the image trunkline:VERSION. BASE=an image with python3, ARGS="--secret id=pip.conf,src=/etc/pip.conf".
	DOCKER_BUILDKIT=1 $(DOCKER) build --file deploy/image/Dockerfile --tag trunkline:$(VERSION) --build-arg BASE=$(BASE) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION="$$(git rev-parse HEAD)" \
		--build-arg CREATED="$$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)" $(ARGS) .

image-test: $(VENV)/dev.stamp ## Builds the image by an engine of its own and runs it, and deploy/compose: as root, minutes, packages are downloaded. No part of `make test`.
	@$(BIN)/python scripts/tools.py dockerd mmdebstrap go compose-spec
	$(BIN)/pytest -m image tests/deploy/test_image.py

cluster-test: $(VENV)/dev.stamp ## Applies deploy/ to a real API server, which it builds first: minutes, packages are downloaded. No part of `make test`.
	@$(BIN)/python scripts/tools.py cluster helm kustomize
	$(BIN)/pytest -m cluster tests/deploy/test_cluster.py

pins: ## Resolves every dependency anew in a scratch environment and writes constraints.txt.
	$(PYTHON) scripts/pin_versions.py

clean: ## Removes what was made here: .venv, tools, caches, builds.
	chmod -R u+w .tools 2>/dev/null || true
	rm -rf $(VENV) .tools build dist clients/typescript/node_modules clients/typescript/dist clients/java/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find clients services -name '*.egg-info' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/dev.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP_INSTALL) --editable '.[dev,bench]'
	@touch $(VENV)/runtime.stamp $@

$(VENV)/fuzz.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP_INSTALL) --editable '.[dev,fuzz]'
	@touch $(VENV)/runtime.stamp $@

$(VENV)/bench.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP_INSTALL) --editable '.[bench]'
	@touch $(VENV)/runtime.stamp $@
