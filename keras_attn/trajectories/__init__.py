"""Improved dense trajectories: tracked points, their descriptors, Fisher vectors, an SVM."""

from keras_attn.trajectories.encoding import FisherEncoder
from keras_attn.trajectories.video import LENGTHS, SETTINGS, Trajectories, extract

__all__ = ["LENGTHS", "SETTINGS", "FisherEncoder", "Trajectories", "extract"]
