# The commands of the README. Everything is installed into .venv from the hash-locked requirements.lock.
PYTHON ?= python3.11
STUDY ?= demo_study
BIN := .venv/bin

.PHONY: demo test ui lint types validate lock clean

demo: .venv/installed
	$(BIN)/stalign demo --study $(STUDY)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

ui: .venv/installed
	$(BIN)/stalign ui $(STUDY)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

validate: .venv/installed
	$(BIN)/dagster definitions validate -w workspace.yaml

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Needs uv (https://docs.astral.sh/uv); writes exact versions and hashes, and no registry addresses.
lock:
	uv pip compile --quiet --python-version 3.11 --generate-hashes --extra dev --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

clean:
	rm -rf .venv build *.egg-info
