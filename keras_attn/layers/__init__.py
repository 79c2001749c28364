"""Keras layers that the models are made of; each can be used on its own."""

from keras_attn.layers.adaptive_max_pool import AdaptiveMaxPool
from keras_attn.layers.attended_lstm import AttendedLSTM, AttendedLSTMCell
from keras_attn.layers.conv_lstm_attention import ConvLSTMAttention, ConvLSTMAttentionCell
from keras_attn.layers.location_attention import LocationAttention
from keras_attn.layers.penalty import Penalty
from keras_attn.layers.per_frame import PerFrame
from keras_attn.layers.pyramid_attention import PyramidAttention
from keras_attn.layers.reattending_lstm import ReattendingLSTM, ReattendingLSTMCell
from keras_attn.layers.saliency_mask import SaliencyMask
from keras_attn.layers.segment_attention import ConfidencePool, SelectedSegments
from keras_attn.layers.temporal_shift import TemporalShift
from keras_attn.layers.weighted_pool import WeightedPool

__all__ = [
    "AdaptiveMaxPool",
    "AttendedLSTM",
    "AttendedLSTMCell",
    "ConfidencePool",
    "ConvLSTMAttention",
    "ConvLSTMAttentionCell",
    "LocationAttention",
    "Penalty",
    "PerFrame",
    "PyramidAttention",
    "ReattendingLSTM",
    "ReattendingLSTMCell",
    "SaliencyMask",
    "SelectedSegments",
    "TemporalShift",
    "WeightedPool",
]
