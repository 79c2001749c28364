"""Small networks in the place of the published ones, with their endpoints."""

import dataclasses

import keras
from keras import layers

from keras_attn.layers import PerFrame

CELL = 32  # pixels of a side that become one cell


def stand_in(backbone):
    """The entry of a backbone with a network of one matrix per endpoint, few cells and channels.

    It sees what the published one sees: single frames or clips, one stream or two.
    """
    endpoints = {
        name: endpoint._replace(layer=name, channels=max(4, endpoint.channels // 32), side="output")
        for name, endpoint in backbone.endpoints.items()
    }

    def network(height, width, channels):
        steps = () if backbone.per_frame else (backbone.frames,)
        frames = keras.Input((*steps, height, width, channels))
        first = layers.Conv2D(8, CELL, CELL, name="first")
        maps = (first if backbone.per_frame else PerFrame(first))(frames)
        maps = layers.BatchNormalization(name="first_norm")(maps)
        for name, endpoint in endpoints.items():
            if name == backbone.vector == "pooled":
                break  # `build_backbone` adds it
            if name == backbone.vector:
                maps = layers.GlobalAveragePooling2D()(maps)
            maps = layers.Dense(endpoint.channels, activation="relu", name=name)(maps)
        return keras.Model(frames, maps)

    return dataclasses.replace(
        backbone, network=network, endpoints=endpoints, minimum_size=CELL, tail=False
    )
