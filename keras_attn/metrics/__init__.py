"""Score files, metrics and the fusion of scores; NumPy only."""

from keras_attn.metrics.classification import (
    Summary,
    VideoScores,
    accuracy,
    accuracy_interval,
    calibration_error,
    confusion,
    mean_class_accuracy,
    summarize,
    top_k,
    video_scores,
)
from keras_attn.metrics.fusion_weights import default_weights, fused_scores
from keras_attn.metrics.scores import Scores, read_scores, write_scores

__all__ = [
    "Scores",
    "Summary",
    "VideoScores",
    "accuracy",
    "accuracy_interval",
    "calibration_error",
    "confusion",
    "default_weights",
    "fused_scores",
    "mean_class_accuracy",
    "read_scores",
    "summarize",
    "top_k",
    "video_scores",
    "write_scores",
]
