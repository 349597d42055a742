# Everything is set up by the first target that needs it. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAB := $(BIN)/lab
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help run validate test check fuzz lint types layers unit go-test rust-test containers-test setup images clean bench

help:  ## Say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Make the virtual environment from requirements.lock (hashes checked)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "driftlab needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(STAMP)  ## The main job: the quickstart suite on the simulator, a recommendation, a report
	@$(LAB) run experiments/quickstart.yaml --tune
	@$(BIN)/python -m lab.plane experiments/quickstart.yaml

test: check unit go-test rust-test fuzz containers-test  ## Everything that CI runs

check: lint types layers

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/pytest -q -n $(WORKERS) -m "not containers" tests

go-test:
	cd compose/go && CGO_ENABLED=0 go vet ./... && CGO_ENABLED=0 go test ./...
	cd compose/toxiproxy && CGO_ENABLED=0 go vet ./... && CGO_ENABLED=0 go test ./...

rust-test:
	cd compose/rust && cargo test --locked

images: $(STAMP)  ## Build the replicas and the proxy server into images
	$(BIN)/python -m lab.containers.build

FUZZ_TIME ?= 2s
# PACKAGE:FUZZER:INPUTS, about two seconds each.
GO_FUZZERS ?= core:FuzzReceive:20000 frame:FuzzRead:70000 settings:FuzzParse:60000 ledger:FuzzLine:70000

# Go is given a number of inputs: with a time its fuzzer sometimes fails by its own deadline, without a finding.
fuzz:  ## Fuzz every decoder of both replicas: GO_FUZZERS inputs within a minute each, FUZZ_TIME (Rust)
	cd compose/go && for target in $(GO_FUZZERS); do \
		package=$${target%%:*}; rest=$${target#*:}; \
		CGO_ENABLED=0 timeout 60 go test ./internal/$$package -run '^$$' -fuzz "^$${rest%%:*}$$" -fuzztime $${rest##*:}x || exit 1; done
	cd compose/rust && FUZZ_SECONDS=$(FUZZ_TIME:s=) cargo test --locked --test rules fuzz

containers-test: images
	$(BIN)/pytest -q -m containers tests

validate: $(STAMP)  ## Hold the simulator against published and exact results, full sizes (minutes)
	$(BIN)/python -m validation --full --workers $(WORKERS)

bench: $(STAMP)  ## Measure the executors against each other
	$(LAB) bench

clean:  ## Remove leftovers of dead sessions, caches and the virtual environment
	-$(LAB) clean
	rm -rf $(VENV) .build compose/dist compose/rust/target .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
