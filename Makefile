# The commands of a newcomer. Everything runs in .venv, which `make install` creates.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo up test quick check install clean

demo: install       ## start everything, edit the example facts, show before and after, roll back, stop
	$(BIN)/errata demo

up: install         ## start everything and serve at 127.0.0.1:8000 until Ctrl-C
	$(BIN)/errata up

# Three files of tests at a time, one thread each, keep two cores busy: tests also wait.
test: install       ## the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# The inner loop: no process is started beside the two that run the tests.
quick: install      ## the tests that take seconds and start nothing
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 -m "not processes and not slow"

check: install      ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable clients/python --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
