BIN ?= .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)
# Hundreds of processes import the same files: each would compile all of them anew.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: demo check types suite format test path pages lock look lists sbom semgrep release

demo: .venv/ready          ## install, then run the whole road on made-up studies
	triage demo

check: .venv/ready         ## what every commit must pass
	ruff format --check .
	ruff check .
	lint-imports
	$(MAKE) --no-print-directory --jobs=2 types suite

types: .venv/ready         ## mypy; beside the tests, for it has one core's work
	mypy

suite: .venv/ready         ## every test
	python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: .venv/ready          ## everything that starts no server
	python -m pytest -m "not path and not postgres"

path: .venv/ready          ## the whole road, with real servers
	python -m pytest -m path

pages: .venv/ready         ## pictures of every page and state, in build/pages
	TRIAGE_SCREENSHOTS=build/pages python -m pytest -n 2 --dist loadfile -m slow tests/triage/worklist

format: .venv/ready
	ruff format .
	ruff check --fix .

lock: .venv/ready          ## resolve again, with hashes; torch stays out, each platform has its own
	pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --unsafe-package torch \
	  --extra postgres --extra dev --no-header --no-emit-find-links --no-emit-index-url \
	  --output-file requirements.lock pyproject.toml
	python tests/house/lock.py requirements.lock

lists: .venv/ready         ## write the pages that are made of other files
	python -m tests.house.soup
	python -m tests.house.security

semgrep: .venv/ready       ## the forbidden patterns once more, by semgrep in an environment of its own
	test -x .venv-semgrep/bin/semgrep || { python3 -m venv .venv-semgrep \
	  && .venv-semgrep/bin/pip install --quiet --no-compile semgrep==1.182.0; }
	python -m tests.house.semgrep .venv-semgrep/bin/semgrep

sbom: .venv/ready          ## what is installed, as CycloneDX
	mkdir -p dist
	triage sbom --out dist/triage.cdx.json

release: .venv/ready       ## of the last commit, built twice, signed: make release KEY=FILE
	rm -rf dist/release
	python -m tests.house.release --out dist/release $(if $(KEY),--key $(KEY))

look: .venv/ready          ## sizes worth a second thought
	python tests/house/look.py

# Not compiled: of thousands of files a tenth is ever imported, and those are compiled then.
.venv/ready: pyproject.toml requirements.lock
	python3 -m venv .venv
	pip install --quiet --no-compile torch==2.13.0
	pip install --quiet --no-compile --require-hashes -r requirements.lock
	pip install --quiet --no-deps --editable .
	touch $@
