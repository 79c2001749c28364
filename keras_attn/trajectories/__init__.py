"""Improved dense trajectories: tracked points and their descriptors, Fisher vectors, pictures."""

from keras_attn.trajectories.encoding import FisherEncoder
from keras_attn.trajectories.pictures import draw
from keras_attn.trajectories.video import LENGTHS, SETTINGS, Trajectories, extract

__all__ = ["LENGTHS", "SETTINGS", "FisherEncoder", "Trajectories", "draw", "extract"]
