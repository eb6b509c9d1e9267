# The commands of a newcomer. Everything runs in .venv, which install.sh makes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo up test quick check docs install develop vllm clean

demo: install       ## start everything, edit the example facts, show before and after, roll back, stop
	$(BIN)/errata demo

up: install         ## start everything and serve at 127.0.0.1:8000 until Ctrl-C
	$(BIN)/errata up

# Three files of tests at a time, one thread each, keep two cores busy: tests also wait. The suite starts dozens of
# processes, so what Python compiles of the clone is kept, wherever else it may not be.
test: develop       ## the whole suite
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# The inner loop: no process is started beside the two that run the tests.
quick: develop      ## the tests that take seconds and start nothing
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 -m "not processes and not slow"

# The console's types are checked where there is a TypeScript, such as Debian's node-typescript.
check: develop      ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if command -v tsc > /dev/null; then tsc -p service/errata_service/console/jsconfig.json; \
	else echo "There is no tsc here: the types of the console's scripts are not checked."; fi
	$(BIN)/mypy

docs: .venv/documenting      ## the pages under docs/ as a site, in site/; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site begins at site/index.html."

install: .venv/installed     ## what a user needs

develop: .venv/developed     ## what the tests, the linter and the type checker need, too

vllm: .venv-vllm/installed       ## an environment of vLLM's own, for the tests that need it (3 GB)

.venv-vllm/installed: engines/vllm/install.sh engines/vllm/pyproject.toml
	PYTHON=$(PYTHON) engines/vllm/install.sh
	touch $@

INSTALLED_FROM := install.sh pyproject.toml clients/python/pyproject.toml constraints.txt

.venv/installed: $(INSTALLED_FROM)
	PYTHON=$(PYTHON) ./install.sh
	touch $@

.venv/developed: $(INSTALLED_FROM)
	PYTHON=$(PYTHON) ./install.sh dev
	touch .venv/installed $@

.venv/documenting: $(INSTALLED_FROM)
	PYTHON=$(PYTHON) ./install.sh docs
	touch .venv/installed $@

clean:
	rm -rf .venv
