"""A flow pre-training of two stages that takes a second, with a network of one convolution."""

import json
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops
from small import eagerly

from keras_attn.data.flow_pairs import TruePairs, true_pairs
from keras_attn.recipes import Clips, Pretraining, Recipe
from keras_attn.training import flow_pretraining
from keras_attn.utils.files import exclusive

WRITING = 0.05  # seconds to write the network, at least
EVENTS = 2 * (1 + 2 * (3 + 1))  # for both stages a row, then twice three steps and a row


class OneConvolution(keras.Model):
    """Has the interface of `FlowPretraining`, and dropout, whose seed is a part of the state."""

    def __init__(self, input_shape, attention_network):
        frames = keras.Input(input_shape)
        x = keras.layers.Dropout(0.1)(frames / 255)
        super().__init__(frames, [keras.layers.Conv2D(2, 4, 4, name="flow")(x)])
        self.endpoint_error = keras.metrics.Mean(name="endpoint_error")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        error = ops.mean(ops.square(ops.cast(y_pred[0], "float32") - y[:, ::4, ::4]))
        self.endpoint_error.update_state(ops.sqrt(error))
        return error

    def save_attention_network(self, path):
        with open(path, "wb") as file:
            np.savez(file, *self.get_weights())


def recipe(**changes):
    settings = {"learning_rate": 1e-2, "batch_size": 2, **changes}
    return Recipe(
        model="sta_cnn",
        arguments={"attention_network": "flownet_s", "groups": 1},
        cached=False,
        backbone="tiny",
        clips=Clips(sampling="segments", frames=2, snippet=2, size=16),
        pretraining=Pretraining("pairs", 2, 2, **settings),
        seed=5,
    )


def stages(pairs):
    """Two of two epochs each: five pairs in batches of two and two, then one; two held out."""
    files = true_pairs(pairs)
    held = TruePairs(tuple(files[5:]))
    return [
        flow_pretraining.Stage("truth", 2, TruePairs(tuple(files[:5])), held),
        flow_pretraining.Stage("clips", 2, TruePairs(tuple(files[4::-1])), held),
    ]


def pretrain(pairs, workdir, progress=None, checkpoint_seconds=0.0):
    workdir.mkdir(exist_ok=True)
    options = {"progress": progress, "checkpoint_seconds": checkpoint_seconds}
    return flow_pretraining.pretrain(recipe(), stages(pairs), workdir, **options)


def train(data, workdir, progress, finish):
    """For `killed_training`."""
    save = OneConvolution.save_attention_network

    def slowly(*arguments):
        finish()
        save(*arguments)
        time.sleep(2 * WRITING)

    OneConvolution.save_attention_network = slowly
    flow_pretraining.FlowPretraining = OneConvolution
    Path(workdir).mkdir(exist_ok=True)
    with eagerly(), exclusive(workdir, "another process trains here"):
        pretrain(data, Path(workdir), progress)


def checkpoint_state(workdir):
    with np.load(workdir / flow_pretraining.CHECKPOINT, allow_pickle=False) as archive:
        return json.loads(archive["header"].tobytes())["state"]
