"""Terms of the papers' objectives, as pure functions of a model's outputs."""

from keras_attn.losses.blocks import (
    block_entropy,
    block_sparsity,
    block_starts,
    uncovered_cells,
)
from keras_attn.losses.classification import LogitsCrossEntropy
from keras_attn.losses.flow import FLOW_RELAXATION, relaxed_flow_error
from keras_attn.losses.pyramid import (
    INTERACTION_REDUCTIONS,
    PYRAMID_FORMS,
    interaction,
    pyramid,
)
from keras_attn.losses.regularizer import AttentionRegularizer
from keras_attn.losses.saliency import (
    UNIMODALITY_REDUCTIONS,
    contrast,
    total_variation,
    unimodality,
)

__all__ = [
    "AttentionRegularizer",
    "FLOW_RELAXATION",
    "INTERACTION_REDUCTIONS",
    "LogitsCrossEntropy",
    "PYRAMID_FORMS",
    "UNIMODALITY_REDUCTIONS",
    "block_entropy",
    "block_sparsity",
    "block_starts",
    "contrast",
    "interaction",
    "pyramid",
    "relaxed_flow_error",
    "total_variation",
    "uncovered_cells",
    "unimodality",
]
