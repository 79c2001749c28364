"""Attention-based human action recognition in video, on Keras 3.

Importing the package does no work: every public name below is loaded at its first use.
"""

import importlib

__version__ = "0.1.0"

_VERBS = {
    "scan": "keras_attn.data.audit",
    "split": "keras_attn.data.splits",
    "prepare": "keras_attn.data.records",
    "extract_flow": "keras_attn.data.flow_records",
    "features": "keras_attn.extraction",
    "train": "keras_attn.training",
    "evaluate": "keras_attn.evaluation",
    "score_trajectories": "keras_attn.trajectory_scores",
    "fuse": "keras_attn.fusion",
    "predict": "keras_attn.prediction",
    "explain": "keras_attn.explanation",
    "export": "keras_attn.exporting",
    "verify": "keras_attn.verification",
    "benchmark": "keras_attn.benchmarks",
}

__all__ = ["__version__", *_VERBS]


def __dir__():
    return __all__


def __getattr__(name):
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'keras_attn' has no attribute {name!r}")
