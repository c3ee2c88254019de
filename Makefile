# Two commands for a new user: make run, make test. Both build .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Runs and tests start many processes, which need not compile every module again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: run test test-long test-docker compiled lint docs pictures site install programs clean

run: install
	$(BIN)/eventmark run

test: install
	@$(MAKE) --no-print-directory -j 3 programs compiled lint
	@$(call tests,not long and not docker)

test-long: install programs compiled
	@$(call tests,not docker)

# In several processes, then alone those that measure what others would disturb. The slowest twenty are printed.
tests = $(BIN)/pytest -n auto --dist worksteal --durations 20 -m '$(1) and not alone'; together=$$?; \
	  $(BIN)/pytest -m '$(1) and alone' $$(grep -rl 'mark\.alone' tests --include='*.py') && exit $$together

# The tests' modules, once: each of the processes that test would compile them all. What is wrong shows when they run.
compiled: install
	@$(BIN)/pytest --collect-only -qq >/dev/null 2>&1 || true

# A server in a container; not part of the other tests. Needs docker and debootstrap (apt-get install docker.io debootstrap).
test-docker: install
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ./src --editable '.[dev,peers,docker]'
	tests/server/docker.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m tools.docs.performance docs/results docs/performance.md docs/ordering.md
	$(BIN)/python -m tools.docs.museum docs/results docs/museum.md
	$(BIN)/python -m tools.docs.advice docs/results docs/advice.md
	$(BIN)/python -m tools.docs.story docs/results docs/story.md

# The README's pictures. The one of a report needs Chromium.
pictures: install
	$(BIN)/python -m tools.docs.readme_pictures

# The documentation as a site, in build/site. A warning is an error.
site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

install: $(INSTALLED)

$(INSTALLED): pyproject.toml src/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ./src --editable '.[dev,peers]'
	touch $@

# A browser to look at the report with, a pooler to share connections through, a clock that can be set, and who reads the
# metrics. Without one of them, and without the right to install it, its tests are skipped.
programs:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || $(call packaged,chromium) \
	  || echo 'no Chromium: the tests that look at the report are skipped'
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || $(call packaged,pgbouncer) \
	  || echo 'no PgBouncer: the tests that share its connections are skipped'
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || $(call packaged,libfaketime) \
	  || echo 'no libfaketime: the tests that set the clock are skipped'
	@command -v promtool >/dev/null || $(call packaged,prometheus) \
	  || echo 'no Prometheus: the tests that scrape and check rules are skipped'

packaged = { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && { $(call apt,$(1)) || { apt-get update -qq >/dev/null 2>&1 && $(call apt,$(1)); }; }; }
apt = apt-get install -y -qq $(1) >/dev/null 2>&1

clean:
	rm -rf .venv out build dist
