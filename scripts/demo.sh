#!/usr/bin/env bash
# The whole way on synthetic clips: scan, split, prepare, train, evaluate, explain, export, verify.
# Needs Python 3.11 or newer and nothing else; writes .venv and demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
environment .venv requirements.txt -e .

keras_attn() {
    echo
    echo "\$ keras-attn $*"
    .venv/bin/keras-attn "$@"
}

started=$SECONDS
echo "Writing synthetic actions: a shape moves left, right, up or down over clutter"
.venv/bin/python scripts/make_synthetic.py demo/videos --scenes 60
clip=demo/videos/left/v_left_g03_c01.mp4

keras_attn scan demo/videos --data demo/data --group-by '_(g\d+)_'
keras_attn split --data demo/data
keras_attn prepare --data demo/data
keras_attn train structured_attention_tiny --data demo/data --workdir demo/run --resume
keras_attn evaluate demo/run | tee demo/evaluation.txt
keras_attn explain "$clip" --model demo/run --out demo/overlay.mp4
keras_attn export demo/run demo/saved_models/motion
keras_attn verify demo/saved_models/motion --run demo/run
keras_attn predict "$clip" --model demo/saved_models/motion

echo
echo "Done in $((SECONDS - started)) seconds. The videos are synthetic: the numbers say that the"
echo "parts work together, not how well they do on real actions."
grep '^test:' demo/evaluation.txt
echo "report:  $PWD/demo/run/evaluation/test/report.html"
echo "overlay: $PWD/demo/overlay.mp4"
