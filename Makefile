# Two commands for a new user: make run, make test. Both build .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: run test test-long lint docs install browser clean

run: install
	$(BIN)/eventmark run

test: install browser lint
	$(BIN)/pytest

test-long: install browser
	$(BIN)/pytest -m 'long or not long'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m eventmark.report.performance docs/results docs/performance.md docs/ordering.md
	$(BIN)/python -m eventmark.report.advice docs/results docs/advice.md

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,peers]'
	touch $@

# The report is looked at in a real browser. Without one, and without the right to install it, those tests are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y -qq chromium >/dev/null 2>&1; } \
	  || echo 'no Chromium: the tests that look at the report are skipped'

clean:
	rm -rf .venv out build dist
