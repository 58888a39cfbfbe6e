# `make demo` and `make test` do all the set-up of a fresh machine.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := demo,dev
TORCH ?= torch==2.13.0

# llama.cpp is compiled here; without this it would use every instruction of this very processor,
# and the compiled package, which pip keeps, would crash on another.
ifeq ($(shell uname -sm),Linux x86_64)
export CMAKE_ARGS ?= -DGGML_NATIVE=OFF
endif

.PHONY: install lm-eval demo test test-all unit engines lint peers performance clean

install: .venv/installed

# torch comes first and by its tested version: pip would replace no build that is there already.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

lm-eval: .venv-lm-eval/installed

# lm-eval, which the parity tests compare with, has hundreds of megabytes of needs of its own.
.venv-lm-eval/installed: Makefile
	test -x .venv-lm-eval/bin/python || $(PYTHON) -m venv .venv-lm-eval
	.venv-lm-eval/bin/python -m pip install --quiet --upgrade pip
	.venv-lm-eval/bin/python -m pip install --quiet '$(TORCH)'
	.venv-lm-eval/bin/python -m pip install --quiet lm_eval==0.4.13 transformers==5.23.0 accelerate
	touch $@

demo: install
	$(BIN)/python examples/demo_model/make_variants.py demo-models
	$(BIN)/pajamas-eval compare \
		original=examples/demo_model/weights \
		demo-models/demo-f16.gguf demo-models/demo-q8_0.gguf \
		demo-models/demo-q4_k_m.gguf demo-models/demo-q2_k.gguf \
		demo-models/demo-mlx-8bit demo-models/demo-mlx-4bit demo-models/demo-mlx-2bit

test: lint unit engines

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: install
	$(BIN)/pytest tests/unit

# KILLS and PARITY_QUESTIONS in the environment make the proofs of these two longer.
engines: install lm-eval
	$(BIN)/pytest tests/contract tests/command tests/parity

# The long proofs: ten kills of each kind, and 300 questions of each benchmark against lm-eval.
test-all: lint unit
	KILLS=10 PARITY_QUESTIONS=300 $(MAKE) engines

# What the speed benchmarks compare with: mlx-lm's own evaluator, which needs lm-eval, and
# llama.cpp's tools, from the very source that llama-cpp-python is compiled from.
peers: .venv-lm-eval/peers build/llama.cpp/bin/llama-perplexity

.venv-lm-eval/peers: .venv-lm-eval/installed
	.venv-lm-eval/bin/python -m pip install --quiet cmake ninja mlx-lm==0.32.2 \
		'mlx[cpu]==0.32.4; sys_platform == "linux"' 'mlx==0.32.4; sys_platform == "darwin"'
	touch $@

build/llama.cpp/bin/llama-perplexity: .venv/installed .venv-lm-eval/peers
	rm -rf build/sdist
	$(BIN)/python -m pip download --quiet --no-deps --no-binary llama-cpp-python -d build/sdist \
		"llama-cpp-python==$$($(BIN)/python -c 'import llama_cpp; print(llama_cpp.__version__)')"
	tar xzf build/sdist/*.tar.gz -C build/sdist
	PATH="$(CURDIR)/.venv-lm-eval/bin:$$PATH" cmake -S build/sdist/*/vendor/llama.cpp \
		-B build/llama.cpp -G Ninja -DCMAKE_BUILD_TYPE=Release $(CMAKE_ARGS) \
		-DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF
	PATH="$(CURDIR)/.venv-lm-eval/bin:$$PATH" cmake --build build/llama.cpp \
		--target llama-perplexity llama-bench

DATA ?= ../shared/data
TOKENIZER ?= ../shared/tokenizers/smollm

performance: install peers
	$(BIN)/python -m tests.performance --data $(DATA) --tokenizer $(TOKENIZER) \
		--out tests/performance/results.md

clean:
	rm -rf .venv .venv-lm-eval build dist demo-models *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
