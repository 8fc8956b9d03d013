# Everything a newcomer or CI needs. A virtual environment is made in .venv; nothing outside the checkout changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing ast-ray with its pinned dependencies (a few minutes, about 5 GB) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev,optuna,docs]'
	@touch $@

demo: $(VENV)/.installed  ## distil scikit-learn's digits, start to finish
	$(BIN)/ast-ray run --preset digits --out runs/digits

test: $(VENV)/.installed-dev  ## run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev  ## format, lint, types, layers, documentation, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
