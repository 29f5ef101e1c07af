# Each target sets up .venv first, where it isn't there yet. What follows ## is what `make help` says.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
EXPERIMENT := demo
CONFIG ?= config.yaml
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo run test-fast test lint docs publish plan status prune

help:  ## say what there is
	@echo "make TARGET, where TARGET is"
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo "(distilbench --help lists the commands behind them, with all their options)"

demo: $(VENV)/installed  ## run the default experiment, config.yaml, and print what came out
	distilbench run --cores $(CORES)

run: $(VENV)/installed  ## run an experiment of your own: make run CONFIG=mine.yaml
	distilbench run $(CONFIG) --cores $(CORES)

test-fast: $(VENV)/installed-dev  ## run the tests that take seconds
	python -m pytest --numprocesses auto --dist loadgroup -m "not slow"

test: $(VENV)/installed-dev $(VENV)/installed-system  ## run all tests
	@# a worker more than cores: the tests of SLURM wait most of their time
	python -m pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadgroup \
		--no-loadscope-reorder

lint: $(VENV)/installed-dev  ## check style, types and imports
	ruff check .
	ruff format --check .
	basedpyright
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

docs: $(VENV)/installed  ## write docs/methods.md and config.schema.json
	distilbench methods --docs docs/methods.md
	distilbench schema

publish: $(VENV)/installed  ## copy the report of EXPERIMENT to results/published/
	distilbench publish $(EXPERIMENT)

plan: $(VENV)/installed  ## say what CONFIG would run, and why; PROFILE=DIR: whether it fits that machine
	@# status 3: there is something to do
	@distilbench plan $(CONFIG) $(if $(PROFILE),--profile $(PROFILE)) || test $$? -eq 3

status: $(VENV)/installed  ## say what of CONFIG is done, running, failed and left
	@distilbench status $(CONFIG) || test $$? -eq 3

prune: $(VENV)/installed  ## list what no experiment needs; DELETE=yes deletes it; CONFIG="a.yaml b.yaml": as they are now
	@distilbench prune $(if $(filter command line environment,$(origin CONFIG)),$(CONFIG)) $(if $(filter yes,$(DELETE)),--delete)

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
