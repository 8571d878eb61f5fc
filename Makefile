# make demo: real audiences become properties of users in a Windsor on this machine
# make up: Airflow with its page, a Windsor and the demo's shop to use by hand, until Ctrl-C.   make env: secrets for docker-compose.yml
# make test: every promise; what other tests stand for, and further forms, are left to make chaos.   make quick: the rooms that need no Airflow, in a minute.   make chaos: every test, the fault tests many times over.   make lint: ruff, mypy --strict, import-linter.   make check: both
# make coverage: every test, and which lines and branches none of them reaches.   make mutation: rules changed one at a time, to see a test fail
# make matrix: the tests of Airflow's parts on every supported release of Airflow, an environment each, and docs/moving-in.md from an empty environment
# make bench: the measured claims of docs/benchmarks.md, beside the alternatives
# make lock: locks/ anew, from constraints.txt and the package index.   make audit-deps: known vulnerabilities, where advisories can be asked for
# make docs: the references in docs/ that are made from the code.   make site: the documentation as a site, in .site/.   make screenshots: the pictures, taken by a test
PYTHON ?= python3
LOCKS ?= dev
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# uv takes a sixth of pip's time, and knows nothing of pip's own settings (an index of a company's, say): then pip does it.
install = $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-deps $(1) || $(PIP) $(1)
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder --max-worker-restart 0
QUICK_ROOMS := segment settings sandbox delivery events contracts

.PHONY: audit-deps bench demo env up chaos coverage docs matrix mutation quick lock screenshots site test lint check clean
.DELETE_ON_ERROR:

$(READY): pyproject.toml $(LOCKS:%=locks/%.txt)
	@$(PYTHON) -c 'import sys; sys.exit("windsor_sync needs Python 3.11.5 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.11") if sys.version_info < (3, 11, 5) else 0'
	@echo "Installing into $(VENV) (a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' locks/dev.txt >$(VENV)/uv.txt
	@$(PIP) --require-hashes -r $(VENV)/uv.txt
	@$(call install,--require-hashes $(LOCKS:%=-r locks/%.txt))
	@$(call install,--no-build-isolation --editable .)
	@touch $@

bench: $(READY)
	@$(call install,--require-hashes -r locks/bench.txt)
	@$(BIN)/python -m benchmarks --json benchmarks.json

chaos: $(READY)
	@WINDSOR_CHAOS=1 $(BIN)/python -m pytest --timeout 3600 -o faulthandler_timeout=3660

demo: $(READY)
	@$(BIN)/windsor-sync demo

up: $(READY)
	@$(BIN)/python -m deploy.up

env:
	@$(PYTHON) -m deploy.env

test: $(READY)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

quick: $(READY)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow' $(QUICK_ROOMS:%=tests/%)

coverage: $(READY)
	@rm -rf .coverage && mkdir .coverage
	@$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report

mutation: $(READY)
	@$(call install,--require-hashes -r locks/mutation.txt)
	@$(BIN)/python -m tests.mutation $(ARGS)

lock: $(READY)
	@$(BIN)/python -m deploy.lock

audit-deps: $(READY)
	@$(PYTHON) -m venv .audit
	@.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@found=0; for lock in locks/*.txt; do echo $$lock; .audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || found=1; done; exit $$found

matrix: $(READY)
	@$(BIN)/python -m tests.matrix $(ARGS)
	@$(BIN)/python -m tests.story

docs: $(READY)
	@$(BIN)/python -m docs.reference

site: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open .site/index.html"

screenshots: $(READY)
	@$(BIN)/python -m pytest tests/airflow/test_page.py -k pictures
	@mkdir -p docs/images
	@cp .artefacts/page/docs-audiences.png docs/images/audiences.png
	@cp .artefacts/page/docs-audience.png docs/images/audience.png

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf $(VENV) .matrix .audit .demo .up .site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage mutants
