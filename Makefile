# Two commands are all a fresh machine with Python 3.11-3.13 needs: `make run-all` and `make test`.
# Works from anywhere with `make -C <this folder>`. A relative DATASET or RUN_DIR starts at this folder.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PROFILE ?= sample
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
SITE_VENV := .venv-site
COLAB_VENV := .venv-colab
PIP_INSTALL := $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check
LINTED := utils tests notebooks site_source $(wildcard benchmarks)

# Without PYTHON=..., a python3 of another version gives way to the first of these that fits.
ifneq ($(filter file default,$(origin PYTHON)),)
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11
else
PYTHONS := $(PYTHON)
endif
VERSION_FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: run-all
run-all: setup ## run the notebooks [PROFILE=sample] [DATASET=path] [RUN_DIR=folder] [RESUME=1]
	@$(VENV_PYTHON) -m utils.run_all --profile "$(PROFILE)" $(if $(DATASET),--dataset "$(DATASET)") $(if $(RUN_DIR),--run-dir "$(RUN_DIR)") $(if $(filter-out 0,$(RESUME)),--resume)

# Two processes take a test file each, in the order of names: by the number of tests, the longest would come last.
.PHONY: test
test: lint ## set up, lint, unit tests, and the notebooks end to end
	@$(VENV_PYTHON) -m pytest -m "not long and not browser and not colab" -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-long
test-long: setup-dev ## what is too slow for every change
	@$(VENV_PYTHON) -m pytest -m long

.PHONY: test-browser
test-browser: $(VENV)/installed-browser site ## the notebooks in JupyterLab and the pages, in a headless Chromium [CHROMIUM=path]
	@$(VENV_PYTHON) -m pytest -m browser

.PHONY: test-colab
test-colab: setup-dev $(COLAB_VENV)/installed ## the setup cell and the five notebooks in a look-alike of Colab
	@$(VENV_PYTHON) -m pytest -m colab -s

.PHONY: bench
bench: setup-dev ## measure speed and memory beside peers: labelling, reading, near-duplicates, dropout, AdamW, Text-CNN, BERT
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	@$(VENV_PYTHON) -m benchmarks.labelling
	@$(VENV_PYTHON) -m benchmarks.movie_reviews
	@$(VENV_PYTHON) -m benchmarks.near_duplicates
	@$(VENV_PYTHON) -m benchmarks.dropout
	@$(VENV_PYTHON) -m benchmarks.optimizer
	@$(VENV_PYTHON) -m benchmarks.text_cnn
	@$(VENV_PYTHON) -m benchmarks.prediction
	@$(VENV_PYTHON) -m benchmarks.bert

.PHONY: lint
lint: setup-dev ## ruff on code and notebooks, mypy on utils
	@$(VENV_PYTHON) -m ruff check $(LINTED)
	@$(VENV_PYTHON) -m ruff format --check $(LINTED)
	@$(VENV_PYTHON) -m mypy

.PHONY: lab
lab: setup ## open the notebooks in JupyterLab
	@$(VENV_PYTHON) -m jupyter lab --notebook-dir=notebooks

.PHONY: mini
mini: setup ## pretrain data/checkpoints/mini anew on real reviews, more than an hour [DATASET=file] [RUN_DIR=folder]
	@$(VENV_PYTHON) -m utils.mini $(if $(DATASET),--dataset "$(DATASET)") $(if $(RUN_DIR),--run-dir "$(RUN_DIR)")

.PHONY: sync
sync: setup-dev ## write the setup cell and the shown definitions from utils/ into the notebooks
	@$(VENV_PYTHON) -m utils.notebooks sync

.PHONY: badges
badges: setup-dev ## write the repository of pyproject.toml into badges, READMEs and setup cells
	@$(VENV_PYTHON) -m utils.notebooks badges

.PHONY: publish
publish: setup ## put the notebooks executed by `make run-all` in place of the committed ones, both editions
	@$(VENV_PYTHON) -m utils.notebooks publish

.PHONY: korean
korean: setup ## build the Korean edition anew from notebooks/ko/*.md, say what is missing or outdated
	@$(VENV_PYTHON) -m utils.notebooks korean

.PHONY: site
site: $(SITE_VENV)/installed ## the notebooks, READMEs and results as reading pages in site/, checked
	@$(SITE_VENV)/bin/python -m site_source.build

.PHONY: lock
lock: setup ## write the locked requirements anew from requirements*.in (installs uv)
	@$(PIP_INSTALL) uv
	@for name in requirements requirements-dev; do \
		$(VENV_PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$$name.in" --output-file "$$name.txt"; \
	done

.PHONY: clean
clean: ## remove the environments, caches and site/ (runs/ stays)
	@rm -rf $(VENV) $(SITE_VENV) $(COLAB_VENV)* site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find utils tests notebooks site_source -name __pycache__ -prune -exec rm -rf {} +

# Set-up: a file inside .venv marks what is installed; it is older than a requirements file that has changed since.
.PHONY: setup setup-dev
setup: $(VENV)/installed
setup-dev: $(VENV)/installed-dev

$(VENV_PYTHON) $(SITE_VENV)/bin/python:
	@for python in $(PYTHONS); do \
		if command -v "$$python" >/dev/null && "$$python" -c '$(VERSION_FITS)' 2>/dev/null; then \
			exec "$$python" -m venv --clear $(@:/bin/python=); \
		fi; \
	done; \
	echo "This tutorial needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1): install one and run make again with PYTHON=<its path>." >&2; \
	exit 1

$(VENV)/installed: requirements.txt $(VENV_PYTHON)
	@$(VENV_PYTHON) -c '$(VERSION_FITS)' || { echo "$(VENV) holds $$($(VENV_PYTHON) --version), this tutorial needs 3.11, 3.12 or 3.13: run 'make clean' and try again." >&2; exit 1; }
	@echo "Installing requirements.txt into $(VENV): a few minutes the first time."
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing requirements-dev.txt into $(VENV)."
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

$(VENV)/installed-browser: requirements-browser.txt $(VENV)/installed-dev
	@echo "Installing requirements-browser.txt into $(VENV)."
	@$(PIP_INSTALL) -r requirements-browser.txt
	@touch $@

$(SITE_VENV)/installed: requirements-site.txt $(SITE_VENV)/bin/python
	@echo "Installing requirements-site.txt into $(SITE_VENV)."
	@$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-site.txt
	@touch $@

# Colab's Python is 3.12; where there is none the look-alike gets the Python of .venv and says so.
$(COLAB_VENV)/installed: tests/colab_runtime.txt $(VENV)/installed
	@python=python3.12; $$python -c "" 2>/dev/null || { python=$(VENV_PYTHON); echo "There is no python3.12 here: the look-alike of Colab gets $$($$python --version)."; }; \
	echo "Installing tests/colab_runtime.txt into $(COLAB_VENV): some minutes and 3 GB the first time."; \
	"$$python" -m venv --clear $(COLAB_VENV)
	@$(COLAB_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/colab_runtime.txt
	@touch $@
