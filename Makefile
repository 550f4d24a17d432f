# What a person runs. Each target stands alone; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo pipelines awx timer hours examples sandbox test lint docs unit integration slow proof molecule sanity build matrix bench format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z ]+:.*## / {n = split($$1, t, " "); for (i = 1; i <= n; i++) printf "  make %-12s %s\n", t[i], $$2}' $(MAKEFILE_LIST)

demo: ## Show the main job end to end on this machine: nothing is needed, nothing is left
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox.demo

hours: ## Show a week end of working hours, on this machine
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox.demo hours

timer: ## Show a timer on this machine: installed, run as cron runs it, and removed; nothing is left
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox.timer

examples: ## Run the example playbooks against the local AWS
	@scripts/bootstrap && .venv/bin/python -m pytest -v -p no:cacheprovider tests/integration/test_examples.py

awx: ## Configure what stands in for AWX, run jobs as AWX does, and remove all of it: two minutes
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox.awx

pipelines: ## Play two pipelines that share an HSM, and a reaper that comes by: who held it, and when it was deleted
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox.pipelines

sandbox: ## Run a local AWS and a Redis in the foreground (SANDBOX_AWS_PORT, SANDBOX_REDIS_PORT, SANDBOX_STATE)
	@scripts/bootstrap && PYTHONPATH=tests exec .venv/bin/python -m sandbox

test: ## Run everything that CI runs
	@scripts/test

lint docs unit integration slow molecule sanity build matrix: ## Run one gate of the test
	@scripts/test $@

proof: ## Search the interleavings of the protocol for 20 minutes (the test does so for one or two)
	@scripts/bootstrap && PYTHONPATH=tests .venv/bin/python -m proof_explorer --minutes 20

bench: ## Measure what an ensure and a touch cost
	@scripts/bootstrap && PYTHONPATH=tests .venv/bin/python benchmarks/runs.py

format: ## Format the Python code
	@scripts/bootstrap && .venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean: ## Remove what bootstrap and the tests made
	rm -rf .venv .venv-* .sandbox .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output
