# Everything a person types while working on the project. `make help` lists it.
#
#   PYTHON       the interpreter for the virtual environment, 3.11 or newer
#   SOUND=no     goes on without FluidSynth and a SoundFont
#   PORT         where `make demo` and `make static` serve their pages
#   DATA         folders of corpora for `make card`, separated by commas
#   ONLY         some measurements of `make card` (python -m benchmarks.model_card --help)
#   TORCH_INDEX  a pip option that says where PyTorch comes from (README: CUDA builds)

PYTHON ?= python3
SOUND ?= yes

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

# Stamps: a step is done again only when what it depends on is newer.
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

SYSTEM := PYTHON="$(PYTHON)" scripts/system_packages.sh
WITH_SOUND := $(if $(filter no,$(SOUND)),,sound)
WITH_TORCH = $(or $(TORCH_INDEX),$(shell scripts/pytorch_index.sh $(PY)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install check fix test test-all card wasm demo static smoke have-python have-sound have-browser

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: have-sound $(INSTALLED)  ## system packages, virtual environment, pinned requirements

check: have-python $(INSTALLED_DEV)  ## what continuous integration asks; changes nothing
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	@if command -v npm > /dev/null && npm ci --silent > /dev/null 2>&1; \
	then set -x; npm run --silent check; \
	else echo "JavaScript is not checked: npm or the TypeScript it installs is missing."; fi

fix: have-python $(INSTALLED_DEV)  ## repairs what ruff can repair
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

test: have-browser $(INSTALLED_DEV)  ## every test that needs no network, no GPU and no patience
	$(PY) -m pytest

test-all: have-browser $(INSTALLED_DEV)  ## the slow tests too
	$(PY) -m pytest -m "not network"

card: have-sound $(INSTALLED_DEV)  ## measures the bundled weights on DATA and writes their card
	$(PY) -m benchmarks.quality.sample_gallery --data "$(DATA)" --out docs/weights
	$(PY) -m benchmarks.model_card --data "$(DATA)" --gallery docs/weights $(if $(ONLY),--only $(ONLY))
	$(PY) -m hub.model_card musiclstm/pretrained --name musiclstm

wasm:  ## builds musiclstm/core/core.wasm; needs clang and lld
	scripts/build_wasm.sh

demo: install  ## the page, on http://127.0.0.1:7860 or another PORT
	$(PY) app.py $(if $(PORT),--port $(PORT))

static: install node_modules  ## the page without a server, on http://127.0.0.1:7861 or another PORT
	$(PY) -m hub.static_page build/static --serve $(if $(PORT),--port $(PORT))

node_modules: package.json package-lock.json
	npm ci
	@touch $@

smoke: have-sound $(INSTALLED)  ## a tiny corpus, two training steps, compose, render
	@set -e; room=$$(mktemp -d); trap 'rm -rf "$$room"' EXIT; set -x; \
	$(PY) -m training.finetune --data musiclstm/examples --output_dir "$$room/model" \
	  --model scratch --preset cpu-quick --max_steps 2 \
	  --hidden_size 64 --num_hidden_layers 2; \
	$(PY) -m musiclstm compose --model "$$room/model" --bars 2 --seed 7 \
	  --out "$$room/a.mid" --audio "$$room/a.wav"; \
	test -s "$$room/a.mid" -a -s "$$room/a.wav"

have-python:
	@$(SYSTEM) python

have-sound:
	@$(SYSTEM) python $(WITH_SOUND) speed

have-browser:
	@$(SYSTEM) python $(WITH_SOUND) speed browser

$(MADE):
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): $(MADE) requirements.txt
	$(PIP) install $(WITH_TORCH) -r requirements.txt
	@touch $@

$(INSTALLED_DEV): $(MADE) requirements.txt requirements-dev.txt
	$(PIP) install $(WITH_TORCH) -r requirements-dev.txt
	@touch $@ $(INSTALLED)
