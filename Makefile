# Everything here happens in .venv; nothing is installed on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt $(wildcard daemon/*.py processing/*.py profiles/*)

.PHONY: demo test check bench clean

demo: $(VENV)/ready  ## Make a dirty roll, clean it, and show it: demo/contact-sheet.png
	$(BIN)/dustwatch demo

test: $(VENV)/ready check  ## Style, types, layers and all tests
	$(BIN)/pytest

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready  ## How clean the frames come out, against what others do
	$(BIN)/python -m tests.bench.quality

# Strict, so that type checkers find the folders under their package names; hence made again with each new file.
$(VENV)/ready: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]' --config-settings editable_mode=strict
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo bench-out
