# Everything a contributor types. `make demo` and `make test` work on a fresh clone with only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test coverage check generate bench evals clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	PYTHON="$(PYTHON)" sh tools/setup.sh "$(VENV)"
	@touch $(STAMP)

demo: setup ## make a small board data set, train, evaluate, run inference, show the result
	sh tools/demo.sh $(abspath $(BIN)) demo

test: setup ## the whole test suite, two modules at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

coverage: setup ## the same with branch coverage, which takes a fifth longer
	$(BIN)/python -m pytest --cov --cov-report=term

check: setup ## what to run before a commit: lint, types, drift of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/mypy evals
	$(BIN)/skillrun bank check

generate: setup ## rewrite schemas, spec templates and reference tables from the config classes
	$(BIN)/skillrun bank generate

bench: setup ## measurements, each a table
	for name in startup corridor generate data model; do $(BIN)/python benchmarks/$$name.py || exit 1; done

evals: setup ## skills and tools: which skill a query wakes, and tasks done by a scripted agent
	$(BIN)/python evals/scoreboard.py

clean:
	rm -rf $(VENV) demo build dist
