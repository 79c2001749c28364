#!/usr/bin/env bash
# Everything that is checked: style, the tests on TensorFlow, and those of the models on JAX.
# Needs Python 3.11 or newer and nothing else; writes .venv and .venv-jax.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
environment .venv-jax scripts/requirements-jax.txt &
environment .venv requirements.txt -e .
wait "$!"

export TF_CPP_MIN_LOG_LEVEL=3
# Nothing runs long enough to gain from what XLA's optimizer takes, and its older emitters compile
# small functions in half the time.
export XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
.venv/bin/ruff check .
.venv/bin/ruff format --check .

# JAX in the background, its output shown at the end. Without TensorFlow the package cannot be
# installed there, so it is found by its path. What is learned does not depend on the backend.
output=$(mktemp)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -f "$output"' EXIT
PYTHONPATH=$PWD KERAS_BACKEND=jax .venv-jax/bin/python -m pytest -p no:cacheprovider \
    --ignore-glob='*learnability.py' tests/losses tests/layers tests/backbones tests/models \
    tests/training/test_optimizers.py tests/training/test_batch_norm.py \
    tests/scripts/test_model_steps.py \
    tests/flow/test_codec.py tests/flow/test_tvl1.py "$@" >"$output" 2>&1 &
jax=$!
status=0
.venv/bin/python -m pytest -n 2 --dist loadscope "$@" || status=$?
wait "$jax" || status=$?
echo "JAX:"
cat "$output"
exit "$status"
