"""The input of a model as a dict of tensors of the shapes that it was built for."""


def named_inputs(expected, inputs):
    """Return `inputs` by name; a bare tensor is the input of a model that has one.

    Args:
        expected: Symbolic inputs of the model, by name.
        inputs: A tensor or array, or a dict or list of them.

    Raises:
        ValueError: For an input of another shape than the model was built for.
    """
    if isinstance(inputs, (list, tuple)) and len(inputs) == len(expected) == 1:
        (inputs,) = inputs
    if hasattr(inputs, "shape") and len(expected) == 1:
        inputs = {name: inputs for name in expected}
    if isinstance(inputs, dict):
        _check_shapes(expected, inputs)
    return inputs


def _check_shapes(expected, inputs):
    """`ValueError` for an input of another shape; Keras' own can be an array's content, printed."""
    for name in expected.keys() & inputs.keys():
        wanted, found = expected[name].shape, getattr(inputs[name], "shape", None)
        if found is None or getattr(found, "rank", 0) is None or _fits(wanted, found):
            continue
        found = tuple(found)
        advice = f"give it {name} as it was built for, or build it with input_shape={found[1:]}"
        if _fits(wanted[1:], found):
            advice = f"the axis of the batch is missing: give {name}[None]"
        raise ValueError(f"`{name}` must have the shape {tuple(wanted)}, got {found}; {advice}")


def _fits(wanted, found):
    return len(wanted) == len(found) and all(
        size in (None, other) or other is None for size, other in zip(wanted, found, strict=True)
    )
