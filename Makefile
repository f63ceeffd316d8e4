# `make compare` and `make test` set up what they need in .venv; nothing has to be run before them.

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/stamps
JOBS ?= 2

.PHONY: compare test browser lint types docs bench requirements clean
.DEFAULT_GOAL := compare

## compare: every solver that fits, on two real problems; prints the path of report.html
compare: $(STAMPS)/run
	@$(BIN)/frechet compare lasso l1-logistic --budget 5s --seeds 1 --out frechet-compare

## test: the whole test suite and the examples in docstrings
test: $(STAMPS)/dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

## browser: the report in headless Chromium (apt install chromium)
browser: $(STAMPS)/dev
	$(BIN)/python -m pytest tests/browser

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/dev
	$(BIN)/pyright --pythonpath $(BIN)/python

# Claims and examples are many small programs, each run for a moment: XLA is told not to try hard.
docs: $(STAMPS)/docs
	XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false" $(BIN)/mkdocs build --strict

bench: $(STAMPS)/benchmarks
	@for script in $(filter-out benchmarks/timing.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

## requirements: pin again what pyproject.toml asks for (needs uv)
PIN := uv pip compile pyproject.toml --quiet --universal --fork-strategy fewest --python-version 3.11 \
  --no-header --no-emit-index-url --no-emit-find-links --upgrade
requirements:
	$(PIN) --extra workbench --extra ray --extra dev -o requirements/dev.txt
	$(PIN) --extra workbench -c requirements/dev.txt -o requirements/run.txt
	$(PIN) --extra workbench --extra docs -c requirements/dev.txt -o requirements/docs.txt
	$(PIN) --extra workbench --extra benchmarks -c requirements/dev.txt -o requirements/benchmarks.txt

clean:
	rm -rf .venv site frechet-compare .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Frechet needs Python 3.11 or later; say which with make PYTHON=python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'Python lacks venv; on Debian: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv --clear .venv

# PyTorch has builds of very different sizes under one version: pip takes the one that it is pointed at.
$(STAMPS)/dev $(STAMPS)/benchmarks: requirements/torch.txt

$(STAMPS)/%: requirements/%.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile $(addprefix -r ,$(filter %.txt,$^))
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps --editable .
	@mkdir -p $(STAMPS) && touch $@
