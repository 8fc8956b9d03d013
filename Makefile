# Everything a newcomer or CI needs. A virtual environment is made in .venv; nothing outside the checkout changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DDRANKING ?= .venv-ddranking
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check ddranking format clean

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

# Tests of Ray mostly wait, so four processes keep two cores busy. Those that end every Ray of the machine come last.
TESTS = $(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder -m "not alone" && \
	$(BIN)/python -m pytest -m alone

test: $(VENV)/.installed-dev  ## run the tests
	$(TESTS)

check: $(VENV)/.installed-dev  ## format, lint, types, layers, documentation, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	$(TESTS)

# DD-Ranking asks for an older numpy than ours, so it gets an environment of its own on top of this one's packages.
$(DDRANKING)/.installed: $(VENV)/.installed-dev
	$(PYTHON) -m venv $(DDRANKING)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(DDRANKING)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/ast-ray.pth"
	$(DDRANKING)/bin/python -m pip install --quiet --disable-pip-version-check ddranking
	@touch $@

ddranking: $(DDRANKING)/.installed  ## what the test that compares scores with DD-Ranking needs

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DDRANKING) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
