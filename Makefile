# make demo | test-fast | test | lint: each sets up .venv first, where it isn't there yet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
EXPERIMENT := demo
CONFIG ?= config.yaml
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test-fast test lint docs publish plan status prune

demo: $(VENV)/installed
	distilbench run --cores $(CORES)
	@distilbench report

test-fast: $(VENV)/installed-dev
	python -m pytest --numprocesses auto --dist loadgroup -m "not slow"

test: $(VENV)/installed-dev $(VENV)/installed-system
	python -m pytest --numprocesses auto --dist loadgroup

lint: $(VENV)/installed-dev
	ruff check .
	ruff format --check .
	basedpyright
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

docs: $(VENV)/installed
	distilbench methods --docs docs/methods.md

publish: $(VENV)/installed
	distilbench publish $(EXPERIMENT)

# make plan PROFILE=workflow/profiles/slurm also says whether the jobs fit its GPUs
plan: $(VENV)/installed
	@# status 3: there is something to do
	@distilbench plan $(CONFIG) $(if $(PROFILE),--profile $(PROFILE)) || test $$? -eq 3

status: $(VENV)/installed
	@distilbench status $(CONFIG) || test $$? -eq 3

# make prune CONFIG="one.yaml two.yaml" lists; with DELETE=yes it deletes
prune: $(VENV)/installed
	@distilbench prune $(if $(filter command line environment,$(origin CONFIG)),$(CONFIG)) $(if $(DELETE),--delete)

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -c "import sys; assert (3, 11) <= sys.version_info < (3, 14), sys.version"
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	pip install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	pip install --quiet --constraint requirements.lock --editable .[dev]
	@# peers whose losses the tests compare with; what else they ask for (triton) is not needed
	pip install --quiet --constraint requirements.lock --no-deps trl liger-kernel
	@# for the SLURM test alone: where Snakemake finds the plugin, each of its starts is slower
	pip install --quiet --constraint requirements.lock --no-deps --upgrade --target $(VENV)/slurm \
		snakemake-executor-plugin-slurm snakemake-executor-plugin-slurm-jobstep
	touch $@

$(VENV)/installed-system: tests/system_packages
	tests/system_packages
	touch $@
