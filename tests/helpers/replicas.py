"""A step of each model on 1, 2 and 4 devices, for `test_replicas`: TensorFlow divides its CPU once.

Prints a JSON line per model: the logs of the step by the number of devices, the largest change
of a weight on one device, and the largest difference of a change from it on the others.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from keras_attn.models import MODELS

CLASSES, CLIPS, FRAMES = 3, 4, 3
MAPS = (FRAMES, 2, 4, 4)
# Penalties as large as the cross-entropy, so that one that counts twice shows.
CASES = {
    "structured_attention": dict(
        input_shape=MAPS, units=3, attention="concentrated", penalty=0.5, weight_decay=0.05
    ),
    "sta_cnn": dict(input_shape=MAPS, groups=1, keep=2, aux_weight=0.7, test_keep=2),
    "temporal_attention": dict(input_shape=(FRAMES, 4), units=3, iterations=2, last=1),
    "where_and_when": dict(
        input_shape=MAPS,
        units=3,
        attention_units=3,
        total_variation=5.0,
        contrast=0.5,
        unimodality=100.0,
    ),
    "pyramid_attention": dict(
        input_shape=MAPS, level_channels=(2, 2), interaction=0.5, pyramid=0.5
    ),
}


def built(name):
    keras.utils.set_random_seed(1)
    model = MODELS[name](CLASSES, dropout=0.0, **CASES[name])
    for layer in model._flatten_layers():
        # In training its statistics are those of a replica, whatever the loss is.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    random = np.random.default_rng(1)  # initial attention is uniform: no penalty differs by clip
    model.set_weights([w + random.uniform(size=w.shape) for w in model.get_weights()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], run_eagerly=True)
    return model


def data(name):
    random = np.random.default_rng(0)
    features = random.normal(size=(CLIPS, *CASES[name]["input_shape"])).astype("float32")
    return {"features": features}, np.array([0, 2, 1, 1]), np.float32([0.5, 2.0, 0.0, 1.0])


def step(name, strategy, clips=CLIPS):
    """The logs of one step, and the change of every weight."""
    replicas = strategy.num_replicas_in_sync
    share = -(-clips // replicas)
    with strategy.scope():
        model = built(name)
        model.optimizer.build(model.trainable_variables)
        before = model.get_weights()

        def of_replica(context):
            start = context.replica_id_in_sync_group * share
            parts = slice(start, min(start + share, clips))
            return tf.nest.map_structure(lambda x: tf.constant(x[parts]), data(name))

        batch = strategy.experimental_distribute_values_from_function(of_replica)
        strategy.run(model.train_step, args=(batch,))
        logs = {key: float(value) for key, value in model.get_metrics_result().items()}
    return logs, [new - old for new, old in zip(model.get_weights(), before, strict=True)]


def strategies():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    yield 1, tf.distribute.get_strategy()
    for devices in (2, 4):
        # Collective operations, the default, keep a process to groups of one size.
        reduction = tf.distribute.ReductionToOneDevice()
        names = [f"CPU:{i}" for i in range(devices)]
        yield devices, tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)


def main():
    by_devices = dict(strategies())
    for name in CASES:
        steps = {devices: step(name, strategy) for devices, strategy in by_devices.items()}
        changes = {devices: change for devices, (_, change) in steps.items()}
        differences = [
            np.abs(one - other).max()
            for devices in (2, 4)
            for one, other in zip(changes[1], changes[devices], strict=True)
        ]
        found = {
            "logs": {devices: logs for devices, (logs, _) in steps.items()},
            "difference": max(differences),
            "largest": max(np.abs(change).max() for change in changes[1]),
        }
        if name == "sta_cnn":
            short = [step(name, by_devices[devices], CLIPS - 1)[0] for devices in (1, 2)]
            found["logs of a short batch"] = short
        print(json.dumps({name: found}, default=float), flush=True)


if __name__ == "__main__":
    main()
