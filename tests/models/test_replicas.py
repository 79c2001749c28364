"""The objective on several devices is that on one: no term counts once per device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checks import BACKEND

HERE = Path(__file__).parents[1]
TERMS = {
    "structured_attention": ["block_entropy"],
    "sta_cnn": ["aux"],
    "temporal_attention": [],
    "where_and_when": ["total_variation", "contrast", "unimodality"],
    "pyramid_attention": ["interaction", "pyramid"],
}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_a_step_on_several_devices_is_that_on_one():
    """With sample weights; one process for all models, as each takes seconds to start."""
    done = subprocess.run(
        [sys.executable, HERE / "helpers" / "replicas.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        found |= json.loads(line)
    assert set(found) == set(TERMS)
    for name, terms in TERMS.items():
        alone, *others = found[name]["logs"].values()
        assert set(alone) == {"loss", "accuracy", *terms}
        assert all(abs(alone[term]) > 0.01 for term in terms)  # to be seen if it counts twice
        assert len(others) == 2
        for logs in others:
            assert logs == pytest.approx(alone, rel=1e-5)
        assert found[name]["difference"] < 1e-6 < 1e-3 < found[name]["largest"]
    alone, shared = found["sta_cnn"]["logs of a short batch"]
    assert shared == pytest.approx(alone, rel=1e-5)
