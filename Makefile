# Everything runs in .venv, which the first command makes. `make PYTHON=python3.12 …` uses another
# Python for it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Newer than what it was installed from, or it is installed again.
INSTALLED := $(VENV)/.installed
# GitHub as the tests see it.
EMULATE := tests/emulate

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Told to keep no bytecode, each process of the tests would compile all of it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo dev dev-github test emulate check bench lock infra image clean

help:
	@echo 'make demo     start everything here, run one prompt (PROMPT="…"), end everything'
	@echo 'make dev      start everything here and stay (PORT=8080)'
	@echo 'make dev-github  the same with a GitHub here to try issues on (needs node and npm)'
	@echo 'make test     all tests'
	@echo 'make check    lint, format and types'
	@echo 'make bench    the benchmarks'
	@echo 'make lock     compile the requirement files again'
	@echo 'make infra    write infra/firestore.txt again, after a change of a collection'
	@echo 'make image    build the runner image with docker, podman or buildah'
	@echo 'make install  only make .venv'
	@echo 'make clean    remove all that was made'

install: $(INSTALLED)

$(INSTALLED): requirements-dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'claude-run needs Python 3.11 or newer: there is no "$(PYTHON)" here.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "claude-run needs Python 3.11 or newer: $(PYTHON) is $$($(PYTHON) --version)." >&2; \
	  echo 'Name a newer one: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python is here without its venv module. On Debian: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into $(VENV), once: about 600 MB, most of it Claude Code; a minute or two.'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --require-hashes --requirement requirements-dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/claude-run demo

dev: $(INSTALLED)
	@$(BIN)/claude-run dev

dev-github: $(INSTALLED) emulate
	@PYTHONPATH=tests $(BIN)/python tests/dev_github.py

# Unit tests first. They and the rest wait more than they compute, hence more processes than cores.
# End to end the tests of a file share servers, so they run in one process; tests/e2e/conftest.py
# says which files begin.
test: $(INSTALLED) emulate
	$(BIN)/pytest --numprocesses 3 --dist worksteal tests/unit
	$(BIN)/pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder tests/e2e

# Once, and again when its versions change. What needs it is skipped without it, never in CI.
emulate:
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
	  echo 'Without node and npm: the tests that need GitHub are skipped.'; \
	elif ! cmp -s $(EMULATE)/package-lock.json $(EMULATE)/node_modules/.installed; then \
	  npm ci --prefix $(EMULATE) --ignore-scripts --no-audit --no-fund && \
	  cp $(EMULATE)/package-lock.json $(EMULATE)/node_modules/.installed; \
	fi

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy functions container tests bench

bench: $(INSTALLED) emulate
	$(BIN)/python bench/run.py

# One version of each package everywhere: the deployables take theirs from the first file.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version $(shell cat .python-version) --no-header
lock: $(INSTALLED)
	$(COMPILE) requirements-dev.in --output-file requirements-dev.txt
	$(COMPILE) functions/requirements.in --constraint requirements-dev.txt --output-file functions/requirements.txt
	$(COMPILE) container/requirements.in --constraint requirements-dev.txt --output-file container/requirements.txt

infra: $(INSTALLED)
	@$(BIN)/python -m gateway.store.listing >infra/firestore.txt

image:
	infra/build-image.sh claude-run

clean:
	rm -rf $(VENV) $(EMULATE)/node_modules dist .mypy_cache .ruff_cache .hypothesis
	find functions container tests bench -name __pycache__ -prune -exec rm -rf {} +
