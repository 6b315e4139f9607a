# Everything a person runs here, by one name each; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
LOCK := $(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--quiet --constraint requirements/constraints.txt

.PHONY: dashboard screenshots help up down clean test test-gpu check fmt faults bench bench-engine bench-tracing bench-telemetry sim timeline chaos chaos-sabotage images lock dev tools bench-dashboard

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## install what is missing, start the stack, push an image through it
	@deploy/up

down: ## stop the stack, keep its data
	@deploy/down

clean: ## stop the stack, remove its data
	@deploy/down --clean

test: dev ## the suite, against real servers started on free ports (ARGS="-m slow": what it leaves out)
	$(PYTHON) -m pytest $(ARGS)

docs: tools ## the documentation as a site of plain files, in build/docs/site; links and anchors are checked
	$(PYTHON) -m deploy.site

test-gpu: ## the tests that need an NVIDIA GPU, with the GPU's packages in .venv-gpu
	@if ! python3 -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null; then \
		echo "NOT RUN: no NVIDIA driver here (libcuda.so.1 is missing)"; \
	else \
		[ -x .venv-gpu/bin/python ] || python3 -m venv .venv-gpu && \
		.venv-gpu/bin/python -m pip install --quiet --require-hashes -r requirements/gpu-tests.txt && \
		.venv-gpu/bin/python -m pytest --confcutdir=tests/gpu -m gpu tests/gpu $(ARGS); \
	fi

faults: dev ## each fault on its own, the slow ones as well: what was lost, how long it took
	$(PYTHON) -m pytest -m "" tests/faults $(ARGS)

check: tools ## lint, formatting, types, import contracts; the dashboard: types, tests, build
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m deploy.dashboard --check

dashboard: tools ## build the dashboard's page into the gateway's package
	$(PYTHON) -m deploy.dashboard $(ARGS)

screenshots: dev ## pictures of the dashboard with real work in it, in build/pictures (ARGS=--docs: the README's anew)
	$(PYTHON) -m tests.pictures $(ARGS)

fmt: tools ## format the code, apply safe lint fixes
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: dev ## first figures, beside Celery's (ARGS=--quick: under a minute)
	$(PYTHON) -m benchmarks $(ARGS)

bench-engine: dev ## how busy a worker keeps its device, beside Celery, taskiq, dramatiq (ARGS=--quick: a look)
	$(PYTHON) -m benchmarks.engine $(ARGS)

bench-dashboard: dev ## what open dashboards cost the gateway at 500 jobs a second (ARGS=--quick: a look)
	$(PYTHON) -m benchmarks.dashboard $(ARGS)

bench-tracing: tools ## what tracing costs a job: off, on, sampled out
	$(PYTHON) -m benchmarks.tracing $(ARGS)

bench-telemetry: dev ## what metrics and the default logs cost a submit (ARGS=--quick: a look)
	$(PYTHON) -m benchmarks.telemetry $(ARGS)

sim: tools ## the scaler on a simulated clock and cloud, beside what others do (ARGS=--quick: a look; --ideas)
	$(PYTHON) -m benchmarks.sim $(ARGS)

timeline: dev ## two hundred jobs, real workers that come, share and leave: docs/timeline.md (ARGS=--quick)
	$(PYTHON) -m benchmarks.timeline $(ARGS)

chaos: dev ## break everything for three minutes, count what is lost (SEED=, MINUTES=)
	$(PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),3) $(ARGS)

chaos-sabotage: dev ## take one promise after the other out of the product: the chaos run must notice (ARGS=fence)
	$(PYTHON) -m tests.chaos.proof $(ARGS)

images: ## build the container images with Docker: gateway, scaler, worker-cpu, worker-gpu (TAG=latest)
	@for image in gateway scaler worker-cpu worker-gpu; do \
		docker build --file deploy/docker/Dockerfile --target $$image --tag leveret-$$image:$(or $(TAG),latest) \
			--build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; done

lock: tools ## pin requirements/*.txt anew
	$(LOCK) pyproject.toml requirements/build.in requirements/dashboard.in --extra local --output-file requirements/local.txt
	$(LOCK) pyproject.toml requirements/build.in requirements/dashboard.in --extra dev --output-file requirements/dev.txt
	$(LOCK) requirements/dashboard.in --output-file requirements/dashboard.txt
	$(LOCK) requirements/sample.in --no-deps --output-file requirements/sample.txt
	$(LOCK) examples/frameworks/keras_shapes/requirements.in --output-file examples/frameworks/keras_shapes/requirements.txt
	for pins in deploy/docker/tools deploy/docker/example/requirements; do \
		$(LOCK) $$pins.in --output-file $$pins.txt || exit 1; done
	for room in gateway worker worker-gpu; do \
		$(LOCK) pyproject.toml --extra $$room --extra tracing --output-file requirements/$$room.txt || exit 1; done
	for room in gpu-tests scaler; do \
		$(LOCK) pyproject.toml --extra $$room --output-file requirements/$$room.txt || exit 1; done

dev:
	@deploy/bootstrap dev

tools:
	@deploy/bootstrap dev --no-servers
