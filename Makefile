# The two commands of the README install what they need: Python 3.11 with pip is enough.
PYTHON ?= python3
BIN := .venv/bin
# The law's matrices are small, and processes share the cores: more threads of linear algebra only spin.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint fast serve clean

demo: .venv/.stamp
	$(BIN)/etalon demo

# One process a core; a file keeps to one of them (tests/conftest.py).
test: lint
	$(BIN)/pytest -n logical --dist loadgroup --no-loadscope-reorder

lint: .venv/.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Everything but the tests that start Ray or a browser.
fast: .venv/.stamp
	$(BIN)/pytest -m "not ray and not browser"

serve: .venv/.stamp
	$(BIN)/etalon serve

.venv/.stamp: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
