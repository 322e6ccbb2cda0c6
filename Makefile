# Millrace: `make demo` sets up everything and runs the main job, `make test` sets up everything and passes the tests.
PYTHON ?= python3
# how many tests run at once: a good third of their time is waiting
PROCESSES ?= 3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint format bench chaos nightly clean generate
.DEFAULT_GOAL := demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(0 if v >= (3, 11) else f"Millrace needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Use: make PYTHON=python3.11 ...")'
	@echo "creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: install it (Debian: apt install python3-venv) and try again"; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	@echo "installing Millrace and what the demo needs (a minute or two the first time) ..."
	@$(PIP) install -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	@echo "installing Millrace and what the tests need (a minute or two the first time) ..."
	@$(PIP) install -e '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/millrace demo

# The tests start more than a thousand processes: where PYTHONDONTWRITEBYTECODE is set, each would compile Millrace anew.
# Modules are begun in the order that tests/conftest.py gives them, not by the number of their tests.
test: $(VENV)/.dev
	$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest -q -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --timeout=300

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_client.py --check
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/generate_interop.py --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.dev
	$(BIN)/python scripts/generate_client.py
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/generate_interop.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

chaos: $(VENV)/.dev
	MILLRACE_CHAOS_TRIALS=$${MILLRACE_CHAOS_TRIALS:-50} $(BIN)/python -m pytest -q tests/chaos --timeout=3600

# Every schedule in every zone at every change of the clocks to 2037 (two to three minutes), 2000 storms of deploying and
# pausing (the longest of all), and every test of a property with five times as many examples, of the day. Twelve minutes
# of processor time; it took 42 minutes at the lowest priority, on two cores that others kept busy.
nightly: $(VENV)/.dev
	MILLRACE_TEST_EVERYWHERE=1 $(BIN)/python -m pytest -q -n 2 --timeout=14400 \
	  tests/chaos/test_schedules_everywhere.py $$(grep -rl "from hypothesis import" --include=test_*.py tests)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
