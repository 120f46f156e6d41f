# The first that is new enough, where none is named.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each $(IS_NEW_ENOUGH) 2>/dev/null && echo $$each && break; done)
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
BIN := .venv/bin
PROTOS := $(wildcard proto/diglot/v1/*.proto)
HTTP ?= 127.0.0.1:8080
GRPC ?= 127.0.0.1:50051
MODEL ?=
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help run test test-ray check proto lint types contract publish bench bench-compare bench-peers bench-plots soak fuzz format clean

help: ## Lists the targets
	@echo 'Diglot: one chat-completion service, gRPC inside, OpenAI outside.'; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo; echo '  make run HTTP=0.0.0.0:80 GRPC=127.0.0.1:50051 MODEL=scripted   chooses addresses and model'

run: .venv/runs ## Serves a real model on both faces; Ctrl-C stops it
	@exec $(BIN)/diglot serve --http $(HTTP) --grpc $(GRPC) $(if $(MODEL),--model $(MODEL))

test: proto ## Runs all tests, in three processes; JOBS=0 in this one
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-ray: .venv-ray/tests ## Tests on a local Ray cluster, in a .venv of its own (1.3 GB)
	.venv-ray/bin/pytest -m ray tests/test_ray_serve.py $(ARGS)

check: lint types contract ## Lints, and checks types and the contract

lint: .venv/develops
	$(BIN)/ruff check service facade tests proto setup.py
	$(BIN)/ruff format --check service facade tests proto setup.py

types: proto
	$(BIN)/mypy -p diglot
	$(BIN)/mypy tests

contract: .venv/develops
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/published.binpb

publish: .venv/develops ## Takes the contract as it is now for what must not break from here on
	$(BIN)/buf build --exclude-source-info -o proto/published.binpb

proto: .venv/develops .venv/stubs ## Generates the Python stubs from proto/

bench: proto ## Measures everything, and keeps it for the plots; ARGS=--quick tries it out
	$(BIN)/python -m tests.bench --save $(ARGS)

bench-peers: proto ## Measures other gateways, too; fetches them first, into /tmp/peers (900 MB)
	$(BIN)/python -m tests.bench.peer_packages
	$(BIN)/python -m tests.bench.peers --save $(ARGS)

bench-compare: proto ## Measures two revisions in turns: A=HEAD B=. (the working tree)
	$(BIN)/python -m tests.bench.compare $(or $(A),HEAD) $(or $(B),.) --bare $(ARGS)

bench-plots: .venv/bench ## Draws what was kept, and prints the README's tables
	$(BIN)/python -m tests.bench.plots
	$(BIN)/python -m tests.bench.report

soak: proto ## Everything at once for MINUTES (20): leaks, lost answers, wrong answers
	$(BIN)/python -m tests.bench.soak --minutes $(or $(MINUTES),20) --save

fuzz: proto ## Spoilt inputs for everything that takes any, for MINUTES (8)
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(or $(MINUTES),8) $(ARGS)

format: .venv/develops ## Formats the code
	$(BIN)/ruff check --fix service facade tests proto setup.py
	$(BIN)/ruff format service facade tests proto setup.py

clean: ## Removes what was built, .venv included
	rm -rf .venv .venv-ray build dist proto/*.egg-info proto/diglot/v1/*_pb2*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Each stamp is a state of .venv: it exists, it can run, it can be developed with.
.venv/exists:
	@$(or $(PYTHON),false) $(IS_NEW_ENOUGH) || { echo 'Diglot needs Python 3.11 or newer; name one: make PYTHON=python3.12 …' >&2; exit 1; }
	@echo 'setting up .venv (once, about a minute)'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/runs: .venv/exists pyproject.toml setup.py $(PROTOS)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

.venv/develops: .venv/exists pyproject.toml setup.py
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/runs .venv/stubs

.venv/stubs: .venv/develops proto/generate.py $(PROTOS)
	@$(BIN)/python proto/generate.py
	@touch $@

.venv/bench: .venv/develops
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# Apart, because it is large and brings versions of its own.
.venv-ray/tests: pyproject.toml setup.py
	@$(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/pip install --quiet --disable-pip-version-check --editable '.[dev,ray]'
	@touch $@
