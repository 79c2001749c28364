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
.venv/bin/ruff check .
.venv/bin/ruff format --check .

# Three at once, since none keeps two cores busy: what computes, on TensorFlow, and then what trains;
# what computes on JAX; and the rest. What those in the background say is shown when they are done.
computing=(tests/test_losses*.py tests/test_optimizers.py tests/test_batch_norm.py tests/layers
    tests/backbones tests/models tests/flow/test_codec.py tests/flow/test_tvl1.py)
training=(tests/test_resume.py tests/test_training*.py tests/test_pretraining*.py
    tests/test_every_model.py)
says=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$says"' EXIT
# Without TensorFlow the package cannot be installed there, so it is found by its path. Nothing runs
# long enough to gain from what XLA's optimiser takes, and learning is learning on any backend.
XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" \
    PYTHONPATH=$PWD KERAS_BACKEND=jax .venv-jax/bin/python -m pytest -p no:cacheprovider \
    --ignore-glob='*learnability.py' "${computing[@]}" "$@" >"$says/jax" 2>&1 &
jax=$!
{
    status=0
    .venv/bin/python -m pytest -p no:cacheprovider "${computing[@]}" "$@" || status=$?
    .venv/bin/python -m pytest -p no:cacheprovider "${training[@]}" "$@" || status=$?
    exit "$status"
} >"$says/tensorflow" 2>&1 &
tensorflow=$!
status=0
others=("${computing[@]}" "${training[@]}")
.venv/bin/python -m pytest "${others[@]/#/--ignore=}" "$@" || status=$?
wait "$tensorflow" || status=$?
wait "$jax" || status=$?
for name in tensorflow jax; do
    echo "$name:"
    cat "$says/$name"
done
exit "$status"
