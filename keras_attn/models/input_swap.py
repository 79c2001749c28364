"""The same model with another input: frames, or what the backbone makes of them."""

import warnings

from keras import ops

from keras_attn.models.base import takes_frames
from keras_attn.models.freezing import freeze


def swap_input(model, backbone, input_shape, cached=False, backbone_weights=None):
    """Return the same model with another input: frames and a backbone, or its cached output.

    All weights outside the backbone are copied, and what is frozen stays so. The backbone starts
    from `backbone_weights`, or, if both models have the same backbone and no weights are given,
    from the model's own.

    Args:
        model: A model of this library.
        backbone: Name of the backbone, or None, as for the model's constructor.
        input_shape: Shape of the new input, without the batch.
        cached: Whether the input is the backbone's cached output.
        backbone_weights: Weights of the backbone, as for the model's constructor.

    Raises:
        ValueError: When the two models differ in more than their input.
    """
    old = model.get_config()
    frozen = old.pop("frozen")
    config = {**old, **model.input_arguments(backbone, cached), "input_shape": input_shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arguments: given when `model` was built
        swapped = type(model)(**config, backbone_weights=backbone_weights)
    if takes_frames(model) and not cached and backbone == old["backbone"] and not backbone_weights:
        swapped.image_network.set_weights(model.image_network.get_weights())
    sources, targets = _own_weights(model), _own_weights(swapped)
    if [w.name for w in sources] != [w.name for w in targets]:
        odd = {_layer(w) for w in sources} ^ {_layer(w) for w in targets}
        raise ValueError(
            "the two models must have the same layers, but only one has: "
            f"{', '.join(sorted(odd)) or 'some weights'}"
        )
    for source, target in zip(sources, targets, strict=True):
        if source.shape != target.shape:
            raise ValueError(
                f"input_shape={input_shape} with backbone={backbone!r} does not fit the weights of "
                f"layer {_layer(target)!r}: expected the map size and channels the model has now"
            )
        # As NumPy: on JAX both models would hold one array, which the first update of either frees.
        target.assign(ops.convert_to_numpy(source))
    sizes = {layer.name: len(layer._flatten_layers()) for layer in model.layers}
    same = [x for x in swapped.layers if sizes.get(x.name) == len(x._flatten_layers())]
    freeze(same, frozen)
    return swapped


def _own_weights(model):
    """The weights outside the backbone, in the order of the graph."""
    others = {id(w) for w in model.image_network.weights} if takes_frames(model) else set()
    return [w for w in model.weights if id(w) not in others]


def _layer(weight):
    return weight.path.partition("/")[0]
