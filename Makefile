# Two commands for a new user: make run, make test. Both build .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: run test test-long lint install clean

run: install
	$(BIN)/eventmark run

test: install lint
	$(BIN)/pytest

test-long: install
	$(BIN)/pytest -m 'long or not long'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,peers]'
	touch $@

clean:
	rm -rf .venv out build dist
