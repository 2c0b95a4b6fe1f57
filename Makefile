# `make explore` sets up and runs the main job, `make test` sets up and runs every check.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= deepseekmoe
BUDGET ?= 200mm2

.PHONY: explore test lint browser database clean

explore: $(VENV)/.installed
	$(BIN)/dse explore --model $(MODEL) --budget-area $(BUDGET)

test: lint browser database
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The report is tested in a real browser: Debian's, where this may install it. Without one those
# tests skip and say so.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get install -y --no-install-recommends chromium \
		|| { apt-get update && apt-get install -y --no-install-recommends chromium; } \
		|| echo "chromium could not be installed: the browser tests will be skipped"; \
	else echo "no chromium, and no right to install it: the browser tests will be skipped"; fi

# Workers are tested on MariaDB, too: Debian's server program (7 MB), which nothing starts but the
# tests. It never takes the place of another server.
database:
	@if [ -x /usr/sbin/mariadbd ]; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get install -y --no-remove --no-install-recommends mariadb-server-core \
		|| { apt-get update \
			&& apt-get install -y --no-remove --no-install-recommends mariadb-server-core; } \
		|| echo "mariadbd could not be installed: its tests will be skipped"; \
	else echo "no mariadbd, and no right to install it: its tests will be skipped"; fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/output
