# make search: the whole search; make report: its report; make test: lint, types and tests. Each
# sets up all it needs.
PYTHON ?= python3
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: search report test format clean

# Half an hour on any machine: the report trains the best trial again, for longer.
search: ARGS = --trials 50 --minutes 30
search: .venv/runtime
	$(BIN)/python run_search.py $(ARGS)

# As many epochs as fit, at most 30; where even the fewest do not, it says how many minutes would do.
report: ARGS = --minutes 90 --ensemble
report: .venv/runtime
	$(BIN)/python report.py $(ARGS)

test: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadgroup $(TESTS)

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-distributed.txt requirements-export.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
