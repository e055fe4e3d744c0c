# Two commands do everything: `make quickstart` and `make test`. Without make, see the README's plain pip lines.
.DEFAULT_GOAL := help
.PHONY: help install quickstart test check bench torture clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

help:
	@echo "make quickstart   a model's whole life on the built-in town, from text to RLHF (9 to 13 minutes)"
	@echo "make test         the fast tests            make torture   the long fault tests"
	@echo "make check        format, lint, types, import law"
	@echo "make bench        every measured claim of the docs, beside its peers (hours)"

# A stamp for each set of extras: installing happens once, and again when the pins change.
$(VENV)/prosa.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/prosa.stamp

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	@touch $@

install: $(VENV)/prosa.stamp

quickstart: $(VENV)/prosa.stamp
	$(BIN)/prosa run configs/quickstart.toml

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: $(VENV)/dev.stamp
	$(BIN)/python -m pytest --junitxml=$(VENV)/fast.xml
	$(BIN)/python -m pytest -m torture --timeout 3600 --junitxml=$(VENV)/torture.xml
	$(BIN)/python -m tests.faults.report $(VENV)/fast.xml $(VENV)/torture.xml

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache
