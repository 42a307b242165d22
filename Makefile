# One command each. Everything is installed into .venv in this checkout; nothing outside it is touched except bubblewrap
# (the sandbox) from the system's packages, for `make compiled` a C compiler, and for `make test` the few programs that
# its tests compare with.

PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help install demo compiled static test check bench soak chaos docs site lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: .venv/run.stamp  ## what running Freehold needs (Python packages, bubblewrap)
	@scripts/programs.sh run

demo: install  ## the main job, live: an agent, a real box, your own tools, the bill (LIVE=1 for Claude itself)
	@$(BIN)/freehold demo $(if $(LIVE),--live)

compiled: .venv/dev.stamp  ## Freehold with its hot path compiled to C, in .venv/compiled
	@scripts/programs.sh compile
	@scripts/compiled.sh

static: .venv/dev.stamp
	@scripts/static.sh

test: .venv/dev.stamp  ## everything that must hold: static checks, then every test
	@scripts/programs.sh test
	@scripts/conformance.sh
	@$(MAKE) --no-print-directory -j 2 --output-sync=target static compiled
	@scripts/test_compiled.sh
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/dev.stamp  ## the fast half of `test`: format, lint, types, layers, and the tests that need no process
	@scripts/static.sh
	$(BIN)/python -m pytest -m "not soak" tests/wire tests/gateway tests/agents tests/api -x

bench: compiled  ## measure against nginx and the disk; results go to benchmarks/results/
	$(BIN)/python benchmarks/run.py

soak: compiled  ## the long runs whole; results go to benchmarks/results/
	$(BIN)/python -m pytest -m soak --timeout 0

chaos: .venv/dev.stamp  ## watch sessions survive: real servers, killed at every named point, started again
	$(BIN)/python -m pytest -v -m "soak or not soak" -k "sqlite and not swarm" tests/chaos/test_kills.py \
	    tests/chaos/test_long_sessions.py tests/chaos/test_streams.py tests/chaos/test_neighbours.py

docs: .venv/dev.stamp  ## write the generated pages anew
	$(BIN)/python scripts/write_docs.py

site: docs  ## the documents as a site in build/site, links checked; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lock: .venv/dev.stamp  ## resolve the dependencies anew (needs the network)
	requirements/compile.sh

clean:  ## remove the environment
	rm -rf .venv

.venv/bin/python:
	@scripts/venv.sh "$(PYTHON)"

.venv/run.stamp: .venv/bin/python requirements/run.lock pyproject.toml
	@scripts/packages.sh run
	@touch $@

.venv/dev.stamp: .venv/bin/python requirements/dev.lock pyproject.toml
	@scripts/packages.sh dev
	@touch $@ .venv/run.stamp
