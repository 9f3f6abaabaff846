# `make help` lists everything. Each target makes the environment it needs (.venv) by itself.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up down status logs clean demo test bench faults conformance check audit dev lock compose schemas runtime

VENV := .venv/bin
# How many channel servers the stack has (else .env says it, else two).
ifdef NODES
export LOCKSTEP_NODE_COUNT := $(NODES)
endif
# Runs one command of the stack in the way that fits this machine (deploy/which.sh).
define stack
	@way=$$(deploy/which.sh); \
	if [ "$$way" = compose ]; then exec deploy/containers.sh $(1); fi; \
	deploy/environment.sh runtime; exec $(VENV)/python -m deploy.local $(1)
endef

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

up: ## start everything and wait until it is ready (NODES=4: so many nodes; LOCKSTEP_STACK=native: without containers)
	$(call stack,up)

down: ## stop everything; data stay
	$(call stack,down)

status: ## what runs, and whether it is ready
	$(call stack,status)

logs: ## follow the logs (NAME=web_app for one)
	$(call stack,logs $(NAME))

clean: ## stop, and remove data, logs and secrets (asks; YES=1 does not)
	$(call stack,clean $(if $(YES),--yes))

demo: runtime ## a conversation with kills in the middle, verified; then every feature, checked (needs `make up`)
	@$(VENV)/python -m deploy.demo $(ARGS)

faults: ## break a stack of its own in every way (ONLY=name for some, SEED=n to repeat, ARGS=--list): up to an hour
	@deploy/environment.sh dev
	@$(VENV)/python -m deploy.local fetch
	@$(VENV)/python -m tests.faults $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: ## measure against floors, keep results and plots (ONLY=name,name; ARGS=--list, --brief): up to 45 minutes
	@deploy/environment.sh bench
	@$(VENV)/python -m deploy.local fetch
	@$(VENV)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)
	@$(VENV)/python -m benchmarks.plots
	@$(VENV)/python -m benchmarks.document

# Tests wait more than they compute, so more of them run side by side than there are cores;
# those that share servers stay together (tests/conftest.py).
WORKERS ?= 5

test: ## every test, on servers of its own beside a running stack (ARGS="-k name" for some, WORKERS=0: one after another)
	@deploy/environment.sh dev
	@$(VENV)/python -m deploy.local fetch
	@$(VENV)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

conformance: ## the Autobahn WebSocket suite (RFC 6455) against our connection class (needs CPython 2.7: pyenv install 2.7.18)
	@deploy/environment.sh dev
	@$(VENV)/python -m tests.conformance $(ARGS)

check: ## format, lint, types, import directions, compose.yaml
	@deploy/environment.sh dev
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/python -m deploy.compose --check
	$(VENV)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

audit: ## compare what is pinned with the published advisories (needs a network that reaches them; fails without)
	@deploy/environment.sh dev
	@for pinned in requirements/*.txt; do \
	    echo "$$pinned:"; \
	    $(VENV)/uv tool run --quiet pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	        --requirement $$pinned; \
	done

dev: ## everything for working on Lockstep: all packages, Java and Kafka's jars
	@deploy/environment.sh dev
	@$(VENV)/python -m deploy.local fetch
	@echo "Ready. make check, make test, make up; the environment is in .venv."

compose: ## write compose.yaml anew from deploy/settings.py (NODES=4: for so many nodes)
	@deploy/environment.sh dev
	@$(VENV)/python -m deploy.compose

schemas: ## write docs/schemas, docs/asyncapi.yaml and docs/permissions.md anew from the code
	@deploy/environment.sh dev
	@$(VENV)/python -m services.contract.schemas
	@$(VENV)/python -m web_app permissions >docs/permissions.md

lock: ## pin requirements/*.in anew, with hashes and without addresses
	@deploy/environment.sh dev
	@for part in build java runtime dev bench; do \
	    $(VENV)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	        --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	        requirements/$$part.in --output-file requirements/$$part.txt; \
	done

runtime:
	@deploy/environment.sh runtime
