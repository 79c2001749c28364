"""A Keras model of the user's as a backbone: frames or clips in, maps or vectors out.

Nothing is put before it: it gets the pixels as they come, 0 to 255, and scales them itself.
"""

import copy
import functools

import keras
from keras import layers, tree

from keras_attn.backbones.spec import Backbone, Endpoint

_MAPS = {4: "(b, h, w, C)", 5: "(B, T, h, w, C)"}
_VECTORS = {4: "(b, D)", 5: "(B, T, D)"}


def of_model(model) -> Backbone:
    """The `Backbone` of a functional `keras.Model`; `ValueError` if it cannot be one.

    Its outputs are the endpoints, from low to high: by their names in a dict, as "map" or "vector"
    where there is one, as "level_1" and so on where there are several.
    """
    inputs = tree.flatten(getattr(model, "inputs", None) or ())
    if len(inputs) != 1 or len(inputs[0].shape) not in _MAPS:
        found = ", ".join(str(tuple(x.shape)) for x in inputs) or "none that is known"
        raise ValueError(
            f"backbone {model.name!r} must have one input, frames (b, H, W, channels) or clips "
            f"(B, T, H, W, channels), got {found}; a subclassed model becomes one by "
            "frames = keras.Input((H, W, 3)); keras.Model(frames, model(frames))"
        )
    shape = tuple(inputs[0].shape)
    outputs = _named(model.output)
    endpoints = {name: Endpoint(f"at_{name}", x.shape[-1]) for name, x in outputs.items()}
    maps, vectors = _divided(model.name, outputs, len(shape))
    if not vectors:
        vectors, last = ["pooled"], endpoints[maps[-1]]
        endpoints["pooled"] = Endpoint("pooled", last.channels)
    return Backbone(
        name=model.name,
        network=functools.partial(_network, model),
        endpoints=endpoints,
        endpoint=(maps or vectors)[-1],
        pyramid=tuple(maps[-4:] or vectors[:1]),
        size=shape[-3:-1],
        minimum_size=1,
        pixels=None,
        description=f"the model {model.name}",
        weights_file="",
        vector=vectors[0],
        per_frame=len(shape) == 4,
        frames=None if len(shape) == 4 else shape[1],
        tail=False,
        config=_serialized(model),
    )


def of_config(config) -> Backbone:
    """The `Backbone` of a new model with the `config` of another's; its weights are random."""
    # A copy, since Keras takes what it has read out of the configuration.
    return of_model(keras.saving.deserialize_keras_object(copy.deepcopy(config)))


def _serialized(model):
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    return config


def _named(output):
    if isinstance(output, dict):
        return output
    several = tree.flatten(output)
    if len(several) == 1:
        return {"map" if len(several[0].shape) > 3 else "vector": several[0]}
    return {f"level_{number}": x for number, x in enumerate(several, 1)}


def _divided(model, outputs, rank):
    """Names of the outputs that are maps, and after them of those that are vectors."""
    kinds = [(name, len(x.shape) == rank) for name, x in outputs.items()]
    for name, x in outputs.items():
        if len(x.shape) not in (rank, rank - 2) or not all(x.shape[2 if rank == 5 else 1 :]):
            raise ValueError(
                f"backbone {model!r} must give maps {_MAPS[rank]} or vectors {_VECTORS[rank]} of "
                f"known size, got {tuple(x.shape)} as {name!r}; tokens become cells by "
                "keras.layers.Reshape((h, w, C))"
            )
    maps = [name for name, is_map in kinds if is_map]
    if [is_map for _, is_map in kinds] != sorted((is_map for _, is_map in kinds), reverse=True):
        raise ValueError(f"backbone {model!r} must give its maps before its vectors, got {kinds}")
    return maps, [name for name, is_map in kinds if not is_map]


def _network(model, height, width, channels):
    """The model on frames of a size; its outputs are the endpoints."""
    (tensor,) = tree.flatten(model.inputs)
    given = (height, width, channels)
    expected = tuple(tensor.shape[-3:])
    if any(x not in (None, y) for x, y in zip(expected, given, strict=True)):
        raise ValueError(
            f"input_shape must end with {expected} for the backbone {model.name!r}, got {given}"
        )
    frames = keras.Input((*tensor.shape[1:-3], *given))
    outputs = _named(model(tree.pack_sequence_as(model.input, [frames])))
    named = [layers.Identity(name=f"at_{name}")(x) for name, x in outputs.items()]
    return keras.Model(frames, named, name="network")
