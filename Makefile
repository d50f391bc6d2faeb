# make demo   simulate a scan, reconstruct it under mpirun, draw it: everything lands in demo/
# make test   lint, types and every test, MPI included
# make bench  the benchmarks
# Each starts from a bare clone: the environment is made in .venv from PyPI wheels, MPI included.

PYTHON ?= python3
BIN := .venv/bin
MPIRUN := $(BIN)/mpirun -n 2 $(BIN)/python
INIT := examples/init_example.txt

.PHONY: demo test lint bench clean

.venv: setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[mpich,test]"
	touch .venv

demo: .venv
	rm -rf demo
	$(MPIRUN) -m lib simulate $(INIT)
	$(MPIRUN) getdata.py demo/raw grain_ demo/raw dark_ 48,40 90,76 demo array
	$(MPIRUN) recon3d.py $(INIT)
	$(BIN)/python -m lib compare $(INIT)

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadscope

bench: .venv
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lib tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
