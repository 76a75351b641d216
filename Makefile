# Two commands do everything, set-up included: make run, make test.
VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
RANKS ?= 2
CASE  ?= benchmarks/cases/mixture_sphere.toml
OUT   := output/$(basename $(notdir $(CASE)))

# MPICH's ranks spin: one thread per rank, one rank per core.
export OMP_NUM_THREADS := 1

.PHONY: help run test test-mpi test-all lint bench bench-all clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo "  RANKS=$(RANKS) and CASE=$(CASE) can be set"

$(READY): setup.cfg pyproject.toml .ci/setup
	@.ci/setup $(VENV)

run: $(READY) ## Run the main job on $(RANKS) ranks and write its report
	@rm -rf $(OUT)
	@if [ -t 2 ]; then bar=--progress; fi; \
	    $(BIN)/mpirun -n $(RANKS) $(BIN)/ufd run $(CASE) --output $(OUT) $$bar

test: $(READY) ## Run the tests, then the marked ones on 2 and 3 ranks
	@$(BIN)/python -m pytest -q -m "not slow"
	@$(MAKE) --no-print-directory test-mpi

test-mpi: $(READY)
	@for n in 2 3; do echo "== $$n ranks"; \
	    timeout 300 $(BIN)/mpirun -n $$n $(BIN)/python -m pytest -q -m "mpi and not slow" -p no:cacheprovider || exit 1; done

test-all: $(READY) ## Run every test, the slow ones too
	@$(BIN)/python -m pytest -q
	@$(MAKE) --no-print-directory test-mpi

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(READY) ## Run the convergence-rate report on $(RANKS) ranks (minutes; RECORD=--record)
	@$(BIN)/mpirun -n $(RANKS) $(BIN)/python benchmarks/convergence_rates.py --again $(RECORD)

# A claim that does not hold fails the whole, once all have been tried.
bench-all: $(READY) ## Run every benchmark (hours; TORCH=PYTHON, RECORD=--record)
	@failed=; $(BIN)/mpirun -n $(RANKS) $(BIN)/python benchmarks/convergence_rates.py --again $(RECORD) || failed=bench; \
	for script in benchmarks/circle_*.py benchmarks/sphere_mixture.py benchmarks/sphere_front.py \
	    benchmarks/particles_*.py benchmarks/meanfield_*.py benchmarks/few_neurons.py \
	    benchmarks/noisy_training.py benchmarks/contrast_page.py benchmarks/two_timescale.py benchmarks/ensemble_ranks.py \
	    benchmarks/rate_judgement.py benchmarks/mpi_scaling.py; do \
	    echo "== $$script"; $(BIN)/python $$script $(RECORD) || failed="$$failed $$script"; done; \
	if $(BIN)/python -c "import ngsolve" 2>/dev/null; \
	then $(BIN)/python benchmarks/sphere_vs_peers.py $(RECORD) || failed="$$failed sphere_vs_peers"; \
	else echo "benchmarks/sphere_vs_peers.py left out: pip install '.[bench]' brings NGSolve"; fi; \
	if [ -n "$(TORCH)" ]; \
	then $(BIN)/python benchmarks/varpro_vs_paper.py --torch $(TORCH) $(RECORD) || failed="$$failed varpro_vs_paper"; \
	else echo "benchmarks/varpro_vs_paper.py left out: TORCH=PYTHON names one with torch"; fi; \
	[ -z "$$failed" ] || { echo "not all claims hold:$$failed"; exit 1; }

clean: ## Remove the environment and all results
	rm -rf $(VENV) output
