# MVP targets: `make help` lists what can be done.
GO     ?= go
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo deps deps-cuda deps-gpu build test race bench bench-gemm bench-step bench-extract bench-store lint soak soak-extract clean gpu-check roofline

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: deps build ## the whole job on the sample images, in three to five minutes: targets, training, probe, a report to look at
	scripts/demo.sh demo

deps: ## bring the pinned shared libraries into .deps/ (no root needed)
	$(PYTHON) scripts/deps.py

deps-cuda: ## bring NVIDIA's compiler and matrix products for the GPU into .deps/ (550 MB; no root, no GPU needed)
	$(PYTHON) scripts/deps.py cuda

deps-gpu: ## bring onnxruntime for NVIDIA GPUs and what it needs into .deps/, to run a teacher there (1.6 GB; no root, no GPU needed)
	$(PYTHON) scripts/deps.py teacher-gpu cuda-nvrtc cuda-cublas

build: ## build every package, and the programs into bin/
	$(GO) build ./...
	@if ls cmd/*/main.go >/dev/null 2>&1; then mkdir -p bin && $(GO) build -o bin/ ./cmd/...; fi

test: deps ## run the tests
	$(GO) test ./...

race: ## run the tests of the pure Go packages under the race detector
	$(GO) test -race ./blas/... ./internal/... ./shards ./student/...

gpu-check: ## on a machine with an NVIDIA GPU: conformance, parity, times beside PyTorch's, extraction; one report file
	$(GO) run ./internal/bench/gpucheck --python $(PYTHON)

roofline: ## what a training step takes on an H100 and an A100, computed on paper
	$(GO) run ./internal/bench/roofline --card h100
	$(GO) run ./internal/bench/roofline --card a100

bench: bench-gemm bench-step bench-store bench-extract ## all benchmarks, each beside its peer; tables, and JSON in build/ (an hour; the machine should be quiet)

bench-step: build/venv-bench ## time a training step on this processor against PyTorch's, float32 and bf16
	$(GO) run ./internal/bench/step --python build/venv-bench/bin/python --json build/bench-step.json

bench-gemm: build/venv-bench ## time the matrix products of that step against oneDNN and torch.mm
	$(GO) run ./internal/bench/gemm --python build/venv-bench/bin/python --json build/bench-gemm.json

build/venv-bench: internal/bench/requirements.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install -q -r $<
	touch $@

# The Python peers: each onnxruntime in an environment of its own, since the packages overwrite each other.
build/venv-peer/bin/python:
	$(PYTHON) -m venv build/venv-peer
	build/venv-peer/bin/pip install -q -r checks/requirements.txt

build/venv-peer-openvino/bin/python:
	$(PYTHON) -m venv build/venv-peer-openvino
	build/venv-peer-openvino/bin/pip install -q -r internal/bench/extract/requirements-openvino.txt

# Pillow's resize in vectors, from source, without the codecs.
build/venv-decode/bin/python:
	$(PYTHON) -m venv build/venv-decode
	CC="cc -mavx2" build/venv-decode/bin/pip install -q --no-binary pillow-simd -C jpeg=disable -C zlib=disable -r internal/bench/extract/requirements-decode.txt

build/clip-b16/clip.onnx:
	$(PYTHON) -m venv build/venv-torch
	build/venv-torch/bin/pip install -q -r pipelines/clip/requirements.txt
	build/venv-torch/bin/python pipelines/clip/export_clip.py $@ --random

bench-extract: deps build/clip-b16/clip.onnx build/venv-peer/bin/python build/venv-peer-openvino/bin/python build/venv-decode/bin/python ## time stage one with ViT-B/16 beside the bare model and the same job in Python (first: 3 GB of PyTorch)
	$(GO) run ./internal/bench/extract --model build/clip-b16/clip.onnx --python build/venv-peer/bin/python --python-openvino build/venv-peer-openvino/bin/python --python-decode build/venv-decode/bin/python --json build/bench-extract.json

soak-extract: deps ## run the small teacher over 100,000 images and watch the memory
	$(GO) run ./internal/bench/extract --soak 100000


bench-store: ## time reading a target store on one core, beside pyarrow (in build/venv, which CI makes), and writing one
	mkdir -p build
	$(GO) run ./internal/bench/store --python build/venv/bin/python --json build/bench-store.json

soak: ## the crash tests of mvp-extract at five times their usual length
	MVP_SOAK=5 $(GO) test -count=1 -timeout 60m -v -run 'Killed|Signal|FullDisk' ./cmd/mvp-extract

lint: ## gofmt, go vet and staticcheck
	@out=$$(gofmt -l .); test -z "$$out" || { echo "not gofmt'ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

clean: ## remove what was built; .deps/ stays
	rm -rf bin build demo
