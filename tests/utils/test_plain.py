"""Results become JSON whatever they hold."""

import json
from pathlib import Path

import numpy as np

from keras_attn.utils.plain import plain


def test_values_become_those_of_json():
    values = {
        1: (True, 2, 0.5, "text", None),
        "path": Path("a/b"),
        "not UTF-8": "\udc80odd",
        "numpy": [np.int64(3), np.float32(0.5), np.bool_(False), np.arange(2)],
        "not a number": [float("nan"), np.float32("nan"), np.array([np.inf, 1.0])],
    }
    assert json.loads(json.dumps(plain(values), allow_nan=False)) == {
        "1": [True, 2, 0.5, "text", None],
        "path": "a/b",
        "not UTF-8": "\\udc80odd",
        "numpy": [3, 0.5, False, [0, 1]],
        "not a number": [None, None, [None, 1.0]],
    }
