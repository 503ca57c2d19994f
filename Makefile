PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin


.PHONY: help env test test-slow store-test runner-test fuzz sweep lint format quickstart bench plots tpu-env tpu-test lock

help:
	@echo "make env         build .venv from requirements/cpu.txt (Python 3.11 to 3.13, set PYTHON=python3.12 to choose)"
	@echo "make quickstart  raw text to a served BERT on this machine, in five to nine minutes (FRESH=1 starts over)"
	@echo "make test        build the environment and run the tests (10 minutes)"
	@echo "make test-slow   whole walks through the product and long trials (15 minutes)"
	@echo "make store-test  walk through the product on servers of S3 and Google Cloud Storage, with kills and failures (20 minutes)"
	@echo "make fuzz        2,000 damaged input files through all readers of the pipelines (5 minutes)"
	@echo "make sweep       compare the tokenizer with its reference: every code point, random strings, real text (15 minutes)"
	@echo "make lint        check with ruff (rules and format) and mypy (type hints)"
	@echo "make format      fix rules and format with ruff"
	@echo "make bench       measure every figure of README and docs/results.md again, with peers (hours; run nothing else)"
	@echo "make plots       draw the curves of runs: make plots RUN=\"runs/a runs/b\" [OUTPUT=curves.png]"
	@echo "make tpu-env     build .venv-tpu from requirements/tpu.txt: the TPU compiler, for bert_tf.preflight"
	@echo "make tpu-test    compile tiny runs with the TPU compiler, in that environment (10 minutes; ONLY=\"words of a name\" selects tests)"
	@echo "make runner-test run the pipelines on Flink and Spark (Java 11 or 17, Maven; 450 MB of jars once; half an hour; ONLY as above)"
	@echo "make lock        update requirements/{cpu,gpu,tpu,worker-aws,worker-gcp}.txt (needs uv)"

env: $(BIN)/.complete

# The marker is written last, so an interrupted installation is taken up again.
$(BIN)/.complete: requirements/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed. Received: {v[0]}.{v[1]}. Choose with PYTHON=python3.12.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: env
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

fuzz: env
	$(BIN)/python -m pytest -m fuzz -s tests/pipelines/reading/test_fuzz.py

sweep: env
	$(BIN)/python -m pytest -m sweep -s

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tpu-env: .venv-tpu/bin/.complete

# tensorflow-text asks for tensorflow, which would overwrite tensorflow-tpu: hence --no-deps, with a lock of everything.
.venv-tpu/bin/.complete: requirements/tpu.txt
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/tpu.txt
	TPU_SKIP_MDS_QUERY=1 .venv-tpu/bin/python -c 'import tensorflow as tf; assert tf.config.list_logical_devices("TPU_SYSTEM")'
	@touch $@

store-test: env
	$(BIN)/python -m pytest -m store -s tests/stores

tpu-test: tpu-env
	TPU_SKIP_MDS_QUERY=1 .venv-tpu/bin/python -m pytest -m tpu $(if $(ONLY),-k "$(ONLY)") tests/preflight/test_tpu.py

runner-test: env
	@for engine in flink spark; do \
	  if ! command -v java > /dev/null; then echo "Flink and Spark are not tested: Java is missing."; break; fi; \
	  if [ ! -e .engines/$$engine/.complete ]; then \
	    if ! command -v mvn > /dev/null; then echo "Flink and Spark are not tested: Maven is missing."; break; fi; \
	    mvn --batch-mode --quiet -f tests/support/engines/pom.xml -P $$engine dependency:copy-dependencies \
	      -DoutputDirectory=$(CURDIR)/.engines/$$engine && touch .engines/$$engine/.complete \
	      || echo "$$engine is not tested: Maven could not fetch it."; \
	  fi; \
	done
	$(BIN)/python -m pytest -m runner -rs $(if $(ONLY),-k "$(ONLY)") tests/pipelines/jobs/test_engines.py

quickstart: env
	$(BIN)/python -m quickstart.run $(if $(FRESH),--fresh)

bench: env tpu-env
	$(BIN)/python -m benchmarks.tokenizer
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.pipeline --only memory --memory_megabytes 1000 --memory_megabytes 1500
	$(BIN)/python -m benchmarks.languages
	$(BIN)/python -m benchmarks.vocabulary
	$(BIN)/python -m benchmarks.useful_tokens
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.bulk_prediction
	$(BIN)/python -m benchmarks.parity --finetune
	$(BIN)/python -m benchmarks.pretraining_curve
	$(BIN)/python -m benchmarks.tpu_reference
	$(BIN)/python -m benchmarks.tpu_table
	$(BIN)/python -m benchmarks.reproduced

plots: env
	$(BIN)/python -m bert_tf.plots $(foreach run,$(or $(RUN),$(error give the runs: make plots RUN="runs/a runs/b")),--workdir $(run)) --output $(or $(OUTPUT),curves.png)

lock:
	uv pip compile pyproject.toml --extra models --extra dev --override requirements/overrides.txt --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" -o requirements/cpu.txt
	uv pip compile pyproject.toml --extra models --extra dev --extra gpu --override requirements/overrides.txt --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command "make lock" -o requirements/gpu.txt
	uv pip compile pyproject.toml requirements/tpu.in --extra models --extra dev --override requirements/tpu-overrides.txt --override requirements/overrides.txt \
	  --python-platform x86_64-manylinux_2_31 --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" -o requirements/tpu.txt
	for store in aws gcp; do uv pip compile pyproject.toml --extra $$store --override requirements/overrides.txt --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" -o requirements/worker-$$store.txt || exit 1; done
