# Everything runs from .venv, which is made by the first target that needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo keeps its database, models and cache here, away from your own.
DEMO := demo
# Where `make install` puts the command.
BINDIR ?= $(HOME)/.local/bin
PHOTOTAG := PHOTOTAG_HOME="$(CURDIR)/$(DEMO)" $(BIN)/phototag

.PHONY: demo install test lint docs format bench clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "phototag needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.installed $@

## Learn from the sample pictures, tag the inbox, find photos, and say how accurate the tags are.
demo: $(VENV)/.installed
	rm -rf $(DEMO)
	@echo '== phototag train sample_images'
	@$(PHOTOTAG) train sample_images
	@echo; echo '== phototag tag sample_images/inbox'
	@# One picture of the inbox is cut short on purpose: exit code 1 says so.
	@$(PHOTOTAG) tag sample_images/inbox || test $$? -eq 1
	@echo; echo '== phototag query --superclass bird'
	@$(PHOTOTAG) query --superclass bird
	@echo; echo '== phototag audit truth sample_images/inbox.csv'
	@$(PHOTOTAG) audit truth sample_images/inbox.csv

## Put `phototag` on the PATH, from the environment that `make demo` made: no second copy of PyTorch.
install: $(VENV)/.installed
	@mkdir -p "$(BINDIR)"
	@test ! -e "$(BINDIR)/phototag" || test -L "$(BINDIR)/phototag" || \
		{ echo "$(BINDIR)/phototag is there already and no link; remove it, or: make install BINDIR=FOLDER" >&2; exit 1; }
	@ln -sf "$(CURDIR)/$(BIN)/phototag" "$(BINDIR)/phototag"
	@echo "$(BINDIR)/phototag; it needs this folder, so keep it here"
	@case ":$$PATH:" in *":$(BINDIR):"*) ;; *) echo "$(BINDIR) is not on your PATH yet; add it" >&2;; esac

## Linters, the type checker, the documentation and all tests.
test: $(VENV)/.installed-dev
	$(MAKE) --jobs 2 lint docs
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 40

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

## The documentation as a site, in docs/_build/html; a warning is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build --quiet --fresh-env --nitpicky --fail-on-warning --keep-going --builder html docs docs/_build/html
	@echo docs/_build/html/index.html

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Photos per second beside the usual loop; a few minutes.
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/throughput.py

clean:
	rm -rf $(VENV) $(DEMO) build docs/_build *.egg-info
