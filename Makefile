PYTHON ?= python
.PHONY: check format test path lock look docs clean

check:            ## what every commit must pass
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	$(PYTHON) -m pytest

format:
	ruff format .
	ruff check --fix .

test:             ## everything that runs without servers
	$(PYTHON) -m pytest -m "not path and not postgres"

path:             ## the whole road, with real servers
	$(PYTHON) -m pytest -m path

lock:             ## resolve again, with hashes; torch stays out, each platform has its own
	pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --unsafe-package torch \
	  --extra postgres --extra dev --no-header --no-emit-find-links --no-emit-index-url \
	  --output-file requirements.lock pyproject.toml
	$(PYTHON) tests/house/lock.py requirements.lock

look:             ## sizes worth a second thought
	$(PYTHON) tests/house/look.py
