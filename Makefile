# Everything is set up in .venv, the first time it is needed; nothing is installed on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FILES := $(sort $(wildcard daemon/*.py daemon/*/*.py processing/*.py profiles/* profiles/*/*))
# Scanners can be driven where there is what python-sane is built from.
WITH_SCANNER := $(if $(and $(wildcard /usr/include/sane/sane.h),$(shell command -v cc)),scanner)
# Named after the list of files: a file that comes or goes has to be installed, one that is edited has not.
READY := $(VENV)/ready-$(firstword $(shell echo '$(FILES) $(WITH_SCANNER)' | cksum))

.PHONY: help demo test check bench bench-full bench-speed clean

help:  ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: $(READY)  ## Make a dirty roll, clean it, and show it: demo/contact-sheet.png
	$(BIN)/dustwatch demo

test: check  ## Style, types, layers and all tests
	$(BIN)/pytest --numprocesses auto --dist loadfile

check: $(READY)  ## Style, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY)  ## How clean the frames come out, against what others do: bench-out/quality.md and .png
	$(BIN)/python -m tests.bench.quality

bench-full: $(READY)  ## The same with more rolls, longer ones, and those of other kinds; takes hours
	$(BIN)/python -m tests.bench.quality --full

bench-speed: $(READY)  ## How long frames take, against copying them: bench-out/speed.md and .png
	$(BIN)/python -m tests.bench.speed

clean:  ## Remove all that was made here
	rm -rf $(VENV) build *.egg-info demo bench-out

# Strict, so that type checkers find the folders under their package names.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'dustwatch needs Python 3.11 or later: install it, then "make PYTHON=python3.11 ..."' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python cannot make virtual environments here: as root, "apt install python3-venv"' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo 'Installing into $(VENV); the first time this takes some minutes.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
		--constraint constraints.txt --editable '.[dev$(WITH_SCANNER:%=,%)]' --config-settings editable_mode=strict
	@rm -f $(VENV)/ready-*
	@touch $@
