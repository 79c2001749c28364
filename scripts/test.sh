#!/usr/bin/env bash
# Everything that is checked: style, the tests on TensorFlow, and those of the models on JAX.
# Needs Python 3.11 or newer and nothing else; writes .venv and .venv-jax.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
environment .venv requirements.txt -e .
environment .venv-jax scripts/requirements-jax.txt

export TF_CPP_MIN_LOG_LEVEL=3
.venv/bin/ruff check .
.venv/bin/ruff format --check .

# Both backends at once: neither keeps two cores busy. What JAX says is shown when both are done.
jax_says=$(mktemp)
trap 'rm -f "$jax_says"; kill %% 2>/dev/null || true' EXIT
# Without TensorFlow the package cannot be installed there, so it is found by its path.
PYTHONPATH=$PWD KERAS_BACKEND=jax .venv-jax/bin/python -m pytest -p no:cacheprovider \
    tests/test_losses*.py tests/test_optimizers.py tests/test_batch_norm.py \
    tests/layers tests/backbones tests/models "$@" >"$jax_says" 2>&1 &
jax=$!
status=0
.venv/bin/python -m pytest "$@" || status=$?
wait "$jax" || status=$?
echo "On JAX:"
cat "$jax_says"
exit "$status"
