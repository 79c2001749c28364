"""Recipes: everything that decides a training run, as frozen values."""

from keras_attn.recipes import (
    frame_classifier,
    pyramid_attention,
    sta_cnn,
    structured_attention,
    temporal_attention,
    two_stream,
    where_and_when,
)
from keras_attn.recipes.base import Clips, Pretraining, Recipe
from keras_attn.recipes.overrides import check_model, from_dict, override

RECIPES = {
    "structured_attention": structured_attention.PAPER,
    "structured_attention_mobilenet": structured_attention.MOBILENET,
    "structured_attention_tiny": structured_attention.TINY,
    "sta_cnn": sta_cnn.PAPER,
    "sta_cnn_mobilenet": sta_cnn.MOBILENET,
    "sta_cnn_tiny": sta_cnn.TINY,
    "temporal_attention": temporal_attention.PAPER,
    "temporal_attention_mobilenet": temporal_attention.MOBILENET,
    "temporal_attention_tiny": temporal_attention.TINY,
    "where_and_when": where_and_when.PAPER,
    "where_and_when_mobilenet": where_and_when.MOBILENET,
    "where_and_when_tiny": where_and_when.TINY,
    "pyramid_attention": pyramid_attention.PAPER,
    "pyramid_attention_tsm": pyramid_attention.TSM,
    "pyramid_attention_mobilenet": pyramid_attention.MOBILENET,
    "pyramid_attention_tiny": pyramid_attention.TINY,
    "attention_fusion": two_stream.ATTENTION_FUSION,
    "attention_fusion_mobilenet": two_stream.ATTENTION_FUSION_MOBILENET,
    "attention_fusion_tiny": two_stream.ATTENTION_FUSION_TINY,
    "motion_reinforcement": two_stream.MOTION_REINFORCEMENT,
    "motion_reinforcement_mobilenet": two_stream.MOTION_REINFORCEMENT_MOBILENET,
    "frame_classifier": frame_classifier.PAPER,
    "frame_classifier_vgg": frame_classifier.VGG,
    "frame_classifier_mobilenet": frame_classifier.MOBILENET,
    "frame_classifier_tiny": frame_classifier.TINY,
}

__all__ = ["RECIPES", "Clips", "Pretraining", "Recipe", "check_model", "from_dict", "override"]
