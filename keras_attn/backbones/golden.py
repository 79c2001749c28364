"""Golden activations: what a network answered for a fixed input when its weights were stored.

A SHA-256 says that bytes are the same. Whether they reach the right places of the right graph it
cannot say: a loader that leaves biases at zero, swaps two kernels or transposes one, and a network
whose strides or epsilon changed with a version, read the same bytes. So beside a file of weights
lies `<file>.golden.json`, with the answers of each layer that has weights, alone, to noise and to
zeros (the second is the bias, however small it is beside the rest), and that of the whole network,
which shows how the layers are connected. For a layer inside another or around others, as in a
vision transformer, its weights stand in for its answers. Of each array there are its root mean
square and its products with some random vectors: a change by a thousandth is seen, rounding is not.

They are written with converted weights (`scripts/convert_weights.py`), with those of a folder of
features and of a finished run, and, for weights that Keras downloads, beside its cache when they
are loaded for the first time. A file without them is loaded as it is.
"""

import functools
from pathlib import Path

import keras
import numpy as np

from keras_attn.backbones.places import by_place, place
from keras_attn.errors import UserError
from keras_attn.utils.files import read_json, write_json
from keras_attn.utils.precision import dtype_policy

_FRAME = 96  # pixels of a side of the frames that the whole network sees, if it sees any size
_TOLERANCE = 1e-4  # for a layer, of the root mean square of its answer; float32 rounds by 1e-6
_OUTPUT_TOLERANCE = 1e-3  # for the network, in which rounding grows
_PROJECTIONS = 4
_NOISE = 2**18 + 27  # odd, so that channels do not repeat with it
_LISTED = 3  # layers in an error


def golden_path(path) -> Path:
    """Where the activations of a file of weights are."""
    return Path(f"{path}.golden.json")


def record(path, networks) -> None:
    """Write beside the weights `path` the activations of `networks`, by name, that hold them."""
    found = {name: activations(*network) for name, network in networks.items()}
    write_json(golden_path(path), {"networks": found})


def check(path, name, build, filled, backbone=None) -> None:
    """`UserError` unless the network `filled` answers as is kept beside `path`, if anything is.

    `build()` makes another network of the same kind, for filled ones of half precision.
    """
    kept = golden_path(path)
    if not kept.exists():
        return
    try:
        expected = read_json(kept)["networks"].get(name)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{kept}: holds no activations ({error!r}); make the weights again"
        ) from error
    if expected is not None:
        _compare(path, kept, expected, activations(precise(filled, build), backbone))


def activations(network, backbone=None) -> dict[str, list]:
    """The answers of a network, by layer, each as `[rms, products, ...]` of noise and of zeros.

    `backbone` is the entry of the table, if there is one: its scale of pixels, and its last
    endpoint in the place of the output.
    """
    with keras.device("cpu:0"):  # a GPU would round to TF32
        found = [[layer.name, _answers(layer)] for layer in by_place(_with_weights(network))]
        return {"layers": found, "output": _output(network, backbone)}


def precise(network, build):
    """The network, or one with its weights in float32."""
    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    with dtype_policy("float32"):
        twin = build()
    twin.set_weights(network.get_weights())
    return twin


@functools.cache
def _noise():
    # Unlike a Generator's, its numbers stay the same in every version of NumPy.
    state = np.random.RandomState(0)  # noqa: NPY002
    return state.standard_normal((1 + _PROJECTIONS, _NOISE)).astype("float32")


def _with_weights(network):
    """The layers that have weights of their own, beside those of layers in them."""
    found = network._flatten_layers(include_self=False)
    return [layer for layer in found if _own_weights(layer)]


def _own_weights(layer):
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _answers(layer):
    parts = [*layer._flatten_layers(include_self=False)]
    if parts or not layer._inbound_nodes:  # or it is called by the layer that it is a part of
        return [_summary(keras.ops.convert_to_numpy(x)) for x in _own_weights(layer)]
    _, *shape = layer.input.shape
    if len(shape) > 1:
        side = 1 + max(getattr(layer, "kernel_size", (1,)))  # so that each weight counts
        shape = [*(side for _ in shape[:-1]), shape[-1]]
    noise = np.resize(_noise()[0], shape)
    answers = keras.ops.convert_to_numpy(layer(np.stack([noise, 0 * noise]), training=False))
    return [_summary(answer) for answer in answers]


def _output(network, backbone):
    """The shape of the frames that the whole network sees, and the summary of its answer."""
    _, *shape = network.input_shape
    flat = any(isinstance(layer, keras.layers.Flatten) for layer in network.layers)
    if not flat and not (backbone and backbone.config):  # it sees frames of any size
        shape = [*(shape[:-3] and [2]), _FRAME, _FRAME, shape[-1]]
    scale = 64 / np.mean(backbone.pixels.deviation) if backbone and backbone.pixels else 64
    frames = (scale * np.resize(_noise()[0], [1, *shape])).astype("float32")
    # `call` takes frames of any size, unlike the network itself.
    answer = keras.Model(network.input, _last(network, backbone)).call(
        keras.ops.convert_to_tensor(frames), training=False
    )
    return {"frames": shape, "answer": _summary(keras.ops.convert_to_numpy(answer))}


def _last(network, backbone):
    """The last endpoint of the network."""
    layer = backbone and backbone.endpoints[backbone.last].layer
    if layer not in (None, "pooled"):
        return network.get_layer(layer).output
    return keras.tree.flatten(network.output)[-1]


def _summary(answer):
    """Root mean square, and products with random vectors that are as large."""
    flat = answer.astype("float64").ravel()
    products = [np.resize(vector, flat.size) @ flat / np.sqrt(flat.size) for vector in _noise()[1:]]
    return [float(f"{value:.7g}") for value in (np.sqrt(np.mean(flat**2)), *products)]


def _compare(path, kept, expected, found):
    # Keras numbers layers without a name of their own anew in each process.
    names, now = ([place(name)[0] for name, _ in one["layers"]] for one in (expected, found))
    if names != now:
        raise UserError(f"{kept}: is of a network with other layers; make the weights {path} again")
    other = [
        name
        for (_, rows), (name, others) in zip(expected["layers"], found["layers"], strict=True)
        if not all(_close(*pair, _TOLERANCE) for pair in zip(rows, others, strict=True))
    ]
    if other:
        where = (
            f"{len(other)} of {len(names)} layers answer differently: {', '.join(other[:_LISTED])}"
        )
    elif expected["output"]["frames"] == found["output"]["frames"] and not _close(
        expected["output"]["answer"], found["output"]["answer"], _OUTPUT_TOLERANCE
    ):
        where = "its layers give the same answers, but are connected differently"
    else:
        return
    raise UserError(
        f"{path}: the network does not answer as it did when these weights were stored ({where}). "
        "The file is damaged, or this version reads it differently or builds another network. Make "
        f"or convert the weights again. If they were changed on purpose, remove {kept}"
    )


def _close(expected, found, tolerance):
    limit = tolerance * expected[0] + 1e-30
    return all(abs(x - y) <= limit for x, y in zip(expected, found, strict=True))
