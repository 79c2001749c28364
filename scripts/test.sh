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
.venv/bin/python -m pytest "$@"
# Without TensorFlow the package cannot be installed there, so it is found by its path.
PYTHONPATH=$PWD KERAS_BACKEND=jax .venv-jax/bin/python -m pytest \
    tests/test_losses.py tests/layers tests/backbones tests/models "$@"
