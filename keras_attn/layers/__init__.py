"""Keras layers that the models are made of; each can be used on its own."""

from keras_attn.layers.attended_lstm import AttendedLSTM, AttendedLSTMCell
from keras_attn.layers.per_frame import PerFrame

__all__ = ["AttendedLSTM", "AttendedLSTMCell", "PerFrame"]
