# Everything a person does here starts with make; `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
RUN := .venv/bin/
PYTHON ?= python3
# Trust what the machine trusts: a company's proxy signs with its own authority.
export UV_SYSTEM_CERTS ?= true

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: system
system: ## check that the system packages are there (prints the line that root must run)
	@$(PYTHON) tools/system.py

.tools/bin/uv:
	@$(PYTHON) -m venv .tools && .tools/bin/pip install --quiet uv

.venv/.ready: pyproject.toml uv.lock agent/butfor_inject/pyproject.toml | system
	@command -v uv >/dev/null || $(MAKE) --no-print-directory .tools/bin/uv
	@$$(command -v uv || echo .tools/bin/uv) sync --quiet --frozen --all-extras --all-packages --python $(PYTHON) && touch $@

.PHONY: demo
demo: .venv/.ready ## break a small shop, capture it live, and prove which commit broke it (out/demo)
	@$(RUN)butfor demo

.PHONY: test
test: .venv/.ready ## every test, those that start services included
	@$(RUN)pytest -q -n 2

.PHONY: test-quick
test-quick: .venv/.ready ## the inner loop: no services, stops at the first failure
	@$(RUN)pytest -q -x -m "not slow and not e2e" -n 2 --ignore tests/injecting --ignore tests/proofs

.PHONY: lint
lint: .venv/.ready ## ruff, mypy, import contracts, spelling
	@$(RUN)ruff check . && $(RUN)ruff format --check . && $(RUN)mypy && $(RUN)lint-imports && $(RUN)codespell operator agent tests docs *.md

.PHONY: generate
generate: .venv/.ready ## write generated files (the verdict's JSON Schema)
	@$(RUN)python -m butfor.reporting.schemas docs/verdict.schema.json

.PHONY: bench
bench: .venv/.ready ## measure: runs against git bisect, a run's cost, capture's cost, the analysis, the kernel's evidence (out/bench.json)
	@PYTHONPATH=tests $(RUN)python -m bench --json out/bench.json

.PHONY: kernels
kernels: .venv/.ready ## boot other kernels (Debian's, in qemu) and attach the probes in every way (needs qemu-system-x86)
	@$(RUN)python tests/kernel/matrix

.PHONY: clean
clean: ## remove what was built here (caches elsewhere stay)
	@rm -rf .venv .tools out
