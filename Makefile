# Every target does its own set-up; nothing but git, make and Python with venv has to be there. `make` lists them.

.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Bytecode makes the second start quick, and this project's environment is the only one used.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME VIRTUAL_ENV UV_PROJECT_ENVIRONMENT UV_PYTHON
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

BIN := .venv/bin
LOCK := pyproject.toml uv.lock
SYNC := $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode --python $(BIN)/python

ARGS ?=
BENCH ?=
QUICK ?=
SEED ?=
MINUTES ?=
PYTEST_ARGS ?= -n 2 --dist loadfile
TESTS ?= $(wildcard tests/unit tests/conformance tests/integration tests/acceptance tests/chaos)

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' Makefile | while read -r target does; do printf 'make %-7s %s\n' "$$target" "$$does"; done

.PHONY: run
run: .venv/.run ## Start everything here and run a sample on this machine's real figures; ARGS= is passed on
	@exec $(BIN)/wfctl dev deploy/workflows/host-metrics.json $(ARGS)

.PHONY: test
test: .venv/.dev check ## Check, then run the whole test suite; TESTS= and PYTEST_ARGS= narrow it
	@$(BIN)/pytest $(PYTEST_ARGS) $(TESTS)

# The two slow ones first: they fill the two cores while the quick ones take turns.
CHECKS := check-mypy check-pyright check-ruff check-format check-imports check-protos check-buf check-lock

.PHONY: check
check: .venv/.dev ## Look and change nothing: format, lint, types, import rules, generated code, wire contract, lock
	@$(MAKE) -j3 -k -O $(CHECKS) && echo "check: all of $(CHECKS:check-%=%) passed"

.PHONY: $(CHECKS)
check-mypy:
	@$(BIN)/mypy
check-pyright:
	@$(BIN)/pyright --warnings
check-ruff:
	@$(BIN)/ruff check --quiet
check-format:
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
check-imports:
	@report=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$report"; exit 1; }
check-lock:
	@$(BIN)/uv lock --check --offline --quiet 2>/dev/null || \
	  { echo "uv.lock does not follow pyproject.toml; run .venv/bin/uv lock and commit it"; exit 1; }
check-protos:
	@$(BIN)/python .ci/protos.py --check
check-buf:
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@if [ -e protos/released.binpb ]; then $(BIN)/buf breaking --against protos/released.binpb; fi

.PHONY: lint
lint: .venv/.dev ## The same, fixing what can be fixed
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet
	@$(BIN)/buf format --write
	@$(MAKE) protos check

.PHONY: protos
protos: .venv/.dev ## Generate agent/treadle/v1 from protos/
	@$(BIN)/python .ci/protos.py

.PHONY: bench
bench: .venv/.dev redis-tools ## Measure, side by side with peers; BENCH=loop narrows it, QUICK=1; JSON lines
	@for name in $(or $(BENCH),$$($(BIN)/python tests/bench/run.py)); do \
	  $(BIN)/python tests/bench/run.py $$name $(if $(QUICK),--quick); \
	done

.PHONY: chaos
chaos: .venv/.dev ## The fault suite; SEED= and MINUTES= say what and how long, TESTS= narrows it
	@SEED=$(SEED) MINUTES=$(MINUTES) $(BIN)/pytest $(PYTEST_ARGS) $(if $(filter file,$(origin TESTS)),tests/chaos,$(TESTS))

# What has to be there. A stamp is newer than the lock when its packages are installed.

.venv/bin/uv:
	@$(find-python); \
	[ -x $(BIN)/python ] || "$$python" -m venv .venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/.run: $(LOCK) | .venv/bin/uv
	@echo "make: installing what running needs into .venv" >&2
	@$(SYNC) --no-default-groups
	@touch $@

.venv/.dev: $(LOCK) | .venv/bin/uv
	@echo "make: installing what developing needs into .venv" >&2
	@$(SYNC) --all-groups
	@touch $@ .venv/.run

define find-python
command -v git >/dev/null || { echo "make: git is missing; install it (Debian: apt-get install git)" >&2; exit 1; }; \
python=; \
for name in python3 python3.14 python3.13 python3.12 python3.11; do \
  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
done; \
[ -n "$$python" ] || { echo "make: Python 3.11 or newer is missing; install it (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }; \
"$$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $$python has no venv; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
endef

.PHONY: redis-tools
redis-tools:
	@if command -v redis-benchmark >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "make: installing redis-tools, whose redis-benchmark is one of the peers" >&2; \
	  { apt-get update -qq && apt-get install -y -qq redis-tools; } >/dev/null || true; \
	fi; \
	command -v redis-benchmark >/dev/null || { echo "make: bench needs redis-benchmark; install redis-tools" >&2; exit 1; }
