"""Attention-based human action recognition in video, on Keras 3.

Importing the package loads neither Keras nor TensorFlow: each public name below is loaded at its
first use, and Keras learns the names of the classes that saved models may hold.
"""

import importlib
import sys

if sys.platform == "win32":
    raise ImportError(
        "keras_attn needs Linux or macOS, because it locks files with fcntl; on Windows, use WSL 2"
    )

from keras_attn.utils import registration

__version__ = "0.1.0"

_VERBS = {
    "scan": "keras_attn.datasets.scanning",
    "split": "keras_attn.datasets.splitting",
    "prepare": "keras_attn.data.records",
    "extract_flow": "keras_attn.data.flow_records",
    "features": "keras_attn.training.feature_extraction",
    "list_recipes": "keras_attn.recipes.listing",
    "train": "keras_attn.training.train",
    "evaluate": "keras_attn.evaluation.evaluation",
    "score_trajectories": "keras_attn.trajectories.classification",
    "fuse": "keras_attn.metrics.fusion",
    "predict": "keras_attn.inference.prediction",
    "explain": "keras_attn.inference.explanation",
    "export": "keras_attn.serving.exporting",
    "verify": "keras_attn.serving.verification",
}

_PACKAGES = (
    "backbones",
    "errors",
    "flow",
    "layers",
    "losses",
    "metrics",
    "models",
    "recipes",
    "testing",
    "trajectories",
)

__all__ = ["__version__", *_VERBS, *_PACKAGES]


def __dir__():
    return __all__


def __getattr__(name):
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"keras_attn.{name}")
    raise AttributeError(f"module 'keras_attn' has no attribute {name!r}")


registration.install()
