"""Models, one file per paper; importing this makes their saved `.keras` files loadable."""

from keras_attn.models.base import VideoClassifier
from keras_attn.models.flow_pretraining import FlowPretraining
from keras_attn.models.frame_classifier import FrameClassifier
from keras_attn.models.input_swap import swap_input
from keras_attn.models.pyramid_attention import PyramidAttentionNetwork
from keras_attn.models.sta_cnn import STACNN
from keras_attn.models.structured_attention import StructuredAttentionLSTM
from keras_attn.models.temporal_attention import TemporalAttentionLSTM
from keras_attn.models.two_stream import AttentionFusionNetwork
from keras_attn.models.where_and_when import WhereAndWhen

MODELS = {
    "structured_attention": StructuredAttentionLSTM,
    "sta_cnn": STACNN,
    "temporal_attention": TemporalAttentionLSTM,
    "where_and_when": WhereAndWhen,
    "pyramid_attention": PyramidAttentionNetwork,
    "attention_fusion": AttentionFusionNetwork,
    "frame_classifier": FrameClassifier,
}

__all__ = [
    "MODELS",
    "STACNN",
    "AttentionFusionNetwork",
    "FlowPretraining",
    "FrameClassifier",
    "PyramidAttentionNetwork",
    "StructuredAttentionLSTM",
    "TemporalAttentionLSTM",
    "VideoClassifier",
    "WhereAndWhen",
    "swap_input",
]
