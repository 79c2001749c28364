"""Keras layers that the models are made of; each can be used on its own."""

from keras_attn.layers.adaptive_max_pool import AdaptiveMaxPool
from keras_attn.layers.attended_lstm import AttendedLSTM, AttendedLSTMCell
from keras_attn.layers.per_frame import PerFrame
from keras_attn.layers.pyramid_attention import PyramidAttention

__all__ = ["AdaptiveMaxPool", "AttendedLSTM", "AttendedLSTMCell", "PerFrame", "PyramidAttention"]
