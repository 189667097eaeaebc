# Each target makes its own .venv. PYTHON chooses the interpreter (3.11 to 3.13), TORCH passes options to pip for torch,
# for example: make venv TORCH="--index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
TORCH ?=
PIP_OPTIONS ?= -q --disable-pip-version-check
BIN := .venv/bin
NEXT := .venv-next/bin
# As many tests at a time as there are processors, each on one of them. End-to-end tests start several processes each, and run alone.
# Tests that follow each other mostly stay in one process, and share what their file prepares.
PARALLEL := -n logical --dist worksteal
test test-slow test-long test-next: export OMP_NUM_THREADS = 1
# A folder or a file of tests/, for example: make test AREA=data/dicom
AREA ?=

.PHONY: help venv check format test test-slow test-long test-next demo docs bench build clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

venv: .venv/installed ## make .venv with all that development and the demo need

.venv/installed .venv-next/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt $(TORCH) torch==2.13.0
	$(@D)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e ".[dev]"
	touch $@

check: venv ## style, types, layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.13
	$(BIN)/lint-imports --no-cache

format: venv ## write the code the way `check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: venv ## the fast tests, in parallel; those of one folder or file: make test AREA=data/dicom, make test AREA=test_docs.py
	$(BIN)/python -m pytest -m "not slow and not long" $(if $(filter %.py,$(AREA)),,$(PARALLEL)) tests/$(AREA)

test-slow: venv ## the end-to-end tests that CI runs, one after the other; AREA as above
	$(BIN)/python -m pytest -m "slow and not long" tests/$(AREA)

test-long: venv ## soaks and whole series of crashes, which CI runs one of each; AREA as above
	$(BIN)/python -m pytest -m long tests/$(AREA)

# The nightly has a name of its own, so pip would keep both. It needs no --pre, which would hold for all that it requires.
test-next: .venv-next/installed ## strategies, real federations and packaging with the newest nightly of Flower
	$(NEXT)/python -m pip uninstall $(PIP_OPTIONS) -y flwr flwr-nightly
	$(NEXT)/python -m pip install $(PIP_OPTIONS) "flwr-nightly[simulation]"
	$(NEXT)/python -m pytest -m "not long" $(PARALLEL) --maxprocesses 4 tests/flower tests/strategies tests/test_packaging.py tests/deploy

demo: venv ## three synthetic hospitals, one federated model, one report
	$(BIN)/medfl demo

docs: venv ## write the pages that are made from the code
	$(BIN)/python -m tools.rooms
	$(BIN)/python -m tools.strategies_page > docs/strategies.md
	$(BIN)/python -m tools.findings_page > docs/findings.md
	$(BIN)/python -m tools.study_page > docs/study.md

bench: venv ## ratios against a plain PyTorch loop and against numpy; fails nothing
	$(BIN)/python -m benchmarks

build: venv ## wheel and sdist in dist/
	$(BIN)/python -m build

clean: ## remove .venv and what tools left
	rm -rf .venv .venv-next build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
