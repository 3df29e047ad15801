# Every chore has one word here. Each makes what it needs: an environment of Python, programs that the tests run against.

PYTHON ?= python3
# Parallel test processes.
JOBS ?= auto
# Of the integration tests, each of which has an API server and a Qdrant of its own and waits for them half of its time.
SERVER_JOBS ?= $(if $(filter auto,$(JOBS)),$(shell $(PYTHON) -c 'import os; print(2 * os.cpu_count())'),$(JOBS))
DEV := .venv
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/vectorops/__init__.py)
RUN := .venv-run

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv compiles nothing, so each of the hundreds of processes that the tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the chores
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20

# ---- use ----

.PHONY: demo
demo: $(RUN)/.installed ## Load examples/quickstart into an embedded Qdrant and search it
	$(RUN)/bin/python examples/quickstart/demo.py

.PHONY: semantic-search
semantic-search: $(DEV)/.installed ## Embed the texts of examples/semantic-search into an embedded Qdrant and ask it questions
	$(DEV)/bin/vectorops apply -f examples/semantic-search --qdrant .demo/search
	$(DEV)/bin/python examples/semantic-search/search.py --qdrant .demo/search

.PHONY: parquet-digits
parquet-digits: $(DEV)/.installed ## Make the Parquet file of examples/parquet with DuckDB, load it into an embedded Qdrant and search it
	$(DEV)/bin/python examples/parquet/make_file.py
	$(DEV)/bin/vectorops apply -f examples/parquet --qdrant .demo/digits
	$(DEV)/bin/python examples/parquet/search.py --qdrant .demo/digits

.PHONY: run
run: $(DEV)/.installed ## Run the operator here on the cluster of the current kubeconfig, with the CRDs of crds/ (FLAGS="--namespace team")
	@echo "cluster: $$(kubectl config current-context). Stop an operator that runs there first: two would both write."
	kubectl apply --server-side --filename crds
	kubectl wait --for condition=Established --timeout 60s --filename crds
	$(DEV)/bin/vectorops run --log-format text $(FLAGS)

# ---- check ----

# COVERAGE=1 counts which lines the tests run, also in operators and commands; `make coverage` adds up all since the last one.
PYTEST = $(DEV)/bin/$(if $(COVERAGE),coverage run -m )pytest
# Percent of the lines of the package that unit and integration tests run together. Raise it, never lower it.
COVERAGE_FLOOR := 96

.PHONY: test test-unit test-integration
test: test-unit test-integration ## Run all tests

test-unit: $(DEV)/.installed ## Run the tests that need no server
	$(PYTEST) tests/unit -n $(JOBS) -W error::pytest.PytestUnraisableExceptionWarning

test-integration: $(DEV)/.installed servers ## Run the tests against a real API server and a real Qdrant
	$(PYTEST) tests/integration -n $(SERVER_JOBS) --dist worksteal

# The table of fastembed's models is that of the newest version.
LOWEST := .venv-lowest
.PHONY: test-lowest
test-lowest: $(LOWEST)/.installed servers ## Run the unit tests, and some others, with the oldest versions that pyproject.toml allows
	$(LOWEST)/bin/pytest tests/unit -n $(JOBS) --deselect tests/unit/embedders/test_fast_embed.py::test_the_table_is_what_the_installed_library_lists
	$(LOWEST)/bin/pytest tests/integration/test_apply.py tests/integration/test_connection.py -n $(SERVER_JOBS)

.PHONY: test-failed
test-failed: $(DEV)/.installed servers ## Run the integration tests that failed last time once more, one at a time
	$(PYTEST) tests/integration --last-failed --last-failed-no-failures none

.PHONY: coverage
coverage: $(DEV)/.installed ## Say what the tests run since the last time with COVERAGE=1 have left out, and fail below the floor
	$(DEV)/bin/coverage combine --quiet
	$(DEV)/bin/coverage report --fail-under $(COVERAGE_FLOOR)

# The version from which `make e2e` upgrades: until there is a release, the first commit that could be installed.
PREVIOUS := 29f71e867d92c2aeec6e295c8203bdadea80d77f
build/previous: Makefile
	rm -rf $@
	mkdir -p $@
	git archive $(PREVIOUS) | tar --extract --directory $@ \
		|| { rm -r $@; echo "this clone lacks $(PREVIOUS): the upgrade from it is not tested"; }

E2E_IMAGE ?= vectorops:e2e
E2E_PREVIOUS_IMAGE ?= vectorops:e2e-previous
export E2E_IMAGE E2E_PREVIOUS_IMAGE

.PHONY: e2e e2e-given e2e-kind
e2e: $(if $(KUBECONFIG),e2e-given,e2e-kind) ## Install and use the operator on the cluster of KUBECONFIG (with E2E_IMAGE on its nodes), or on a kind cluster made for it (KEEP=1: and kept)

e2e-given: $(DEV)/.installed
	$(DEV)/bin/pytest tests/e2e --timeout 600

.PHONY: e2e-failed
e2e-failed: $(DEV)/.installed ## Run the end-to-end tests that failed last time once more, on the cluster of KUBECONFIG
	$(DEV)/bin/pytest tests/e2e --timeout 600 --last-failed --last-failed-no-failures none

KIND := vectorops-e2e
e2e-kind: $(DEV)/.installed build/previous
	@for tool in docker kind kubectl helm; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; test -z "$$missing" || \
		{ echo "not installed:$$missing; or set KUBECONFIG to a cluster whose nodes have $(E2E_IMAGE)" >&2; exit 1; }
	docker build --tag $(E2E_IMAGE) .
	test ! -e build/previous/Dockerfile || docker build --tag $(E2E_PREVIOUS_IMAGE) build/previous
	@# One that was kept, or left by a run that was cut off, serves again.
	kind get clusters | grep --quiet --line-regexp $(KIND) || kind create cluster --name $(KIND) --config kind-config.yaml --wait 3m
	set -e; trap 'test -n "$(KEEP)" || kind delete cluster --name $(KIND)' EXIT; \
		kind load docker-image --name $(KIND) $(E2E_IMAGE); \
		test ! -e build/previous/Dockerfile || kind load docker-image --name $(KIND) $(E2E_PREVIOUS_IMAGE); \
		kind export kubeconfig --name $(KIND) --kubeconfig build/kubeconfig; \
		KUBECONFIG=$(CURDIR)/build/kubeconfig $(MAKE) e2e-given

.PHONY: bench
bench: $(DEV)/.installed servers ## Measure loads from a Parquet file beside other clients, and write docs/benchmarks.md (FLAGS="--count 20000 --rounds 1")
	PYTHONPATH=tests $(DEV)/bin/python benchmarks/sources.py --docs docs $(FLAGS)
	$(DEV)/bin/python tools/format_markdown.py docs/benchmarks.md

.PHONY: image
image: ## Build the operator's image, vectorops:VERSION, which reads sources (EXTRAS="fastembed": with local models, too)
	docker build --tag vectorops:$(VERSION) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		--build-arg EXTRAS="$(EXTRAS)" .

# How many names are defined twice, and how many helpers are called once and save nothing: lower them, never raise them.
MAX_TWICE := 13
MAX_ONCE := 96

PAGES = $(shell git ls-files --cached --others --exclude-standard '*.md')

.PHONY: lint
lint: $(DEV)/.installed check-generated ## Check style, names, types, layers, dependencies and generated files
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/python tools/format_markdown.py --check $(PAGES)
	$(DEV)/bin/python tools/names.py --quiet --max-twice $(MAX_TWICE) --max-once $(MAX_ONCE) operator/vectorops
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/deptry operator/vectorops

.PHONY: check-generated
check-generated: $(DEV)/.installed ## Check that crds/ and all that `make docs` writes are current
	@rm -rf build/crds
	$(DEV)/bin/vectorops crds --output-dir build/crds
	@diff -ru crds build/crds && diff -ru charts/vectorops/files/crds build/crds || \
		{ echo "crds/ or the chart's copy is out of date: run 'make crds'" >&2; exit 1; }
	$(DEV)/bin/python tools/generate.py --check

# ---- make ----

.PHONY: format
format: $(DEV)/.installed ## Format code and pages, and fix what can be fixed
	$(DEV)/bin/ruff check --fix-only .
	$(DEV)/bin/ruff format .
	$(DEV)/bin/python tools/format_markdown.py $(PAGES)

.PHONY: crds
crds: $(DEV)/.installed ## Generate crds/, and the chart's copy, from the models
	$(DEV)/bin/vectorops crds --output-dir crds
	$(DEV)/bin/vectorops crds --output-dir charts/vectorops/files/crds

.PHONY: docs
docs: $(DEV)/.installed ## Generate the API reference, the chart's README and Argo CD's settings from their sources
	$(DEV)/bin/python tools/generate.py

.PHONY: statuses
statuses: $(DEV)/.installed servers ## Record anew what the operator writes in each situation, and what Argo CD and Flux make of it
	VECTOROPS_RECORD=1 $(DEV)/bin/pytest tests/integration/test_gitops.py -k "recorded or expect or page"

.PHONY: servers
servers: $(DEV)/.installed ## Get the programs that the integration tests run (kube-apiserver, etcd, Qdrant, helm, promtool, versitygw, moto, Argo CD's and Flux's judgment)
	PYTHONPATH=tests $(DEV)/bin/python -m servers.programs

# requirements/lock.txt holds every version with its hashes, whatever is installed of it; build.txt holds what pip installs first;
# lowest.txt the oldest versions that pyproject.toml allows.
# Not uv.lock and not pylock.toml: both say where each file was downloaded from, and no option leaves that out.
LOCK = $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(DEV)/bin/uv ## Resolve requirements/*.txt again (UPGRADE=1: to the newest versions)
	$(LOCK) --generate-hashes pyproject.toml --all-extras --group dev --group build --output-file requirements/lock.txt
	$(LOCK) --generate-hashes --group build --constraint requirements/lock.txt --output-file requirements/build.txt
	$(LOCK) --no-annotate --resolution lowest-direct pyproject.toml --all-extras --group dev --group build \
		--output-file requirements/lowest.txt
	$(LOCK) --generate-hashes tests/moto/requirements.in --output-file tests/moto/requirements.txt

.PHONY: clean
clean: ## Remove what the chores made here (not the cache of server programs)
	rm -rf $(DEV) $(RUN) $(LOWEST) .demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# ---- environments ----

# A fresh machine needs nothing but Python: pip brings uv, which links gigabytes of torch from its cache in seconds.
# uv refuses what requirements/lock.txt has no version and no hash of, although it is given as a constraint.
$(DEV)/.installed: private WHAT := --all-extras --group dev
%/.installed: %/bin/uv pyproject.toml requirements/lock.txt
	VIRTUAL_ENV=$* $*/bin/uv pip install --quiet --require-hashes --constraint requirements/lock.txt -r pyproject.toml $(WHAT)
	VIRTUAL_ENV=$* $*/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(LOWEST)/.installed: $(DEV)/bin/uv requirements/lowest.txt
	$(PYTHON) -m venv --clear --without-pip $(LOWEST)
	VIRTUAL_ENV=$(LOWEST) $(DEV)/bin/uv pip install --quiet -r requirements/lowest.txt
	VIRTUAL_ENV=$(LOWEST) $(DEV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.PRECIOUS: %/bin/uv
%/bin/uv: requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $*/bin/python || $(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --require-hashes -r requirements/build.txt
	touch $@
