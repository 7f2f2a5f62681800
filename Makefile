# Everything runs from here. `make` alone explains.
#
# Needed: git, make and Python 3.11 or newer. uv is installed from PyPI into .tools/ and makes
# .venv from uv.lock with the Python found here; it downloads no interpreter.

ORDERS  ?=
ROUNDS  ?= 50
DATABASE ?=
TOPOLOGY ?=
ARGS    ?=
VENV    ?= .venv
WORKERS ?= 2

UV_VERSION := 0.13.8
UV         := .tools/uv/bin/uv
READY      := $(VENV)/.ready
BENCH      := $(VENV)/.ready-bench
BIN        := $(VENV)/bin

FIND_PYTHON := for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' \
	2>/dev/null && break; done
PYTHON ?= $(shell $(FIND_PYTHON))

export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
# As git and pip do, so that a network with its own certificates works.
export UV_SYSTEM_CERTS ?= true
unexport VIRTUAL_ENV

RUN    := $(UV) run --frozen --no-sync
PYTEST := $(RUN) pytest -n $(WORKERS) --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help up test check test-all again demo crash bench format lint clients types docs clean

help:  ## Explain the targets
	@echo 'Mainspring. Start with: make up'
	@echo
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'
	@echo
	@echo '  ORDERS=500 shortens the demo, ROUNDS=2 the crash suite, whose faults ARGS=--list names and'
	@echo '  ARGS="--scenario outage" plays one by one; DATABASE=postgresql://... picks'
	@echo '  the engine of up and demo; TOPOLOGY=split has the demo run services as separate processes'
	@echo '  on real PostgreSQL, Valkey, Kafka and S3 (Kafka: make .tools/kafka/.ready);'
	@echo '  ARGS="..." goes to up, test, demo, crash and bench as it is.'

up: $(READY)  ## Start everything on SQLite, on every core; stop with Ctrl-C
	@$(if $(DATABASE),MAINSPRING_DATABASE__URL='$(DATABASE)') $(RUN) mainspring up $(ARGS)

test: $(READY)  ## Run the tests on SQLite and a real PostgreSQL
	$(PYTEST) $(ARGS)

check: lint types  ## All that must hold before a change lands: style, types, layers, docs, tests, crashes
	$(MAKE) crash ROUNDS=2 ARGS='--scenario kill --scenario runs'
	$(MAKE) test

# Kafka's own jars, which need Java to run and Maven to fetch; without them its tests are skipped.
.tools/kafka/.ready: tests/kafka/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory='$(CURDIR)/.tools/kafka'
	@touch $@

# OpenSearch's, which need Java 21.
.tools/opensearch/.ready: tests/opensearch/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory='$(CURDIR)/.tools/opensearch'
	@touch $@

# FerretDB, which speaks MongoDB's protocol and needs Go to build; without it its tests are skipped.
.tools/ferretdb: tests/ferretdb/main.go tests/ferretdb/go.mod tests/ferretdb/go.sum
	cd tests/ferretdb && PATH="$$PATH:/usr/local/go/bin" go build -trimpath -o '$(CURDIR)/$@' .

# local-kms, which speaks AWS KMS's protocol. As above.
.tools/local-kms: tests/kms/main.go tests/kms/go.mod tests/kms/go.sum
	cd tests/kms && PATH="$$PATH:/usr/local/go/bin" go build -trimpath -o '$(CURDIR)/$@' .

test-all: $(READY)  ## Every test, those with more servers and more minutes included
	$(PYTEST) -m 'more or not more' --durations 25 --durations-min 4 $(ARGS)

again: $(READY)  ## Run the tests that failed last once more, one after the other
	$(RUN) pytest -n 0 -m 'more or not more' --last-failed --last-failed-no-failures=none $(ARGS)

demo: $(READY)  ## Load 69,659 real orders through the public API and check every figure
	$(if $(filter split,$(TOPOLOGY)),$(RUN) python -m tests.scenarios.split_demo $(if $(ORDERS),--orders $(ORDERS)) $(ARGS),$(RUN) mainspring demo $(if $(ORDERS),--orders $(ORDERS)) $(if $(DATABASE),--database '$(DATABASE)') $(ARGS))

crash: $(READY)  ## Kill, freeze, cut off, fill up and restore it under load, then look for losses (ROUNDS=50)
	$(RUN) python -m tests.crash --rounds $(ROUNDS) $(ARGS)

bench: $(BENCH)  ## Measure beside PocketBase, Huey, PgQueuer and Procrastinate in one run
	$(RUN) python -m benchmarks $(ARGS)

format: $(READY)  ## Rewrite the code in the house's format
	$(RUN) ruff format
	$(RUN) ruff check --fix

lint: $(READY)  ## Check format, lint rules and who may import whom
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) lint-imports --no-logo

clients: $(READY)  ## Write the clients' methods anew from the declarations
	$(RUN) python -m mainspring.cli.generated src/mainspring/client/generated
	$(RUN) ruff format --quiet src/mainspring/client/generated
	$(RUN) ruff check --quiet --fix src/mainspring/client/generated
	$(RUN) python -m mainspring.cli.typescript clients/typescript

types: $(READY)  ## Check types with mypy --strict
	$(RUN) mypy

docs: $(READY)  ## Run every command of the README and the docs, and compare what they print
	$(RUN) pytest tests/docs $(ARGS)

clean:  ## Remove what the build and the tools left; data directories stay
	rm -rf $(VENV) .tools dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(UV):
	@test -n '$(PYTHON)' || { echo 'Mainspring needs Python 3.11 or newer, and found none on PATH.' >&2; exit 1; }
	@mkdir -p .tools
	@'$(PYTHON)' -m venv .tools/uv >.tools/venv.log 2>&1 || { rm -rf .tools/uv; \
		echo '$(PYTHON) cannot make virtual environments; install its venv module (Debian: apt-get install python3-venv).' >&2; exit 1; }
	@echo 'Installing uv $(UV_VERSION) into .tools/'
	@.tools/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION) \
		|| { rm -rf .tools/uv; exit 1; }

$(READY): uv.lock pyproject.toml | $(UV)
	@test -n '$(PYTHON)' || { echo 'Mainspring needs Python 3.11 or newer, and found none on PATH.' >&2; exit 1; }
	@echo 'Installing what uv.lock names into $(VENV)'
	@$(UV) sync --frozen --quiet --inexact --all-extras
	@touch $@

$(BENCH): $(READY)
	@$(UV) sync --frozen --quiet --inexact --all-extras --group bench
	@touch $@
