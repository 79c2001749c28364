"""Which layers of a model are frozen, in a form that another process understands."""


def frozen_layers(model):
    """Places of the frozen layers with weights, in the list of its sublayers, by top-level layer.

    Names within a backbone can differ from process to process, as Keras numbers them.
    """
    places = {
        layer.name: [i for i, x in enumerate(layer._flatten_layers()) if _holds_frozen(x)]
        for layer in model.layers
    }
    return {name: found for name, found in places.items() if found}


def _holds_frozen(layer):
    return not layer.trainable and bool(layer.weights)


def freeze(layers, frozen):
    """Freeze what `frozen_layers` found in `layers` of the same structure, and nothing else."""
    for layer in layers:
        places = frozen.get(layer.name, ())
        for i, part in enumerate(layer._flatten_layers()):  # parents first: they pass it on
            part.trainable = i not in places
