"""Which batch normalizations of a pretrained network continue to learn."""

from keras import layers

POLICIES = ("train", "partial", "frozen")


def set_batch_norm(parts, policy: str) -> None:
    """Let all batch normalizations of a network learn, only the first of each stream, or none.

    `"partial"` is the policy of temporal segment networks (Wang et al. 2016): only the first one
    sees another kind of input than the network was pretrained on, so it learns and the others are
    frozen. A backbone with two streams, RGB and flow, has one such first layer in each. A frozen
    one uses its moving statistics in training too, and changes neither them nor its scale and
    offset.

    Call this before `compile`. Setting `trainable` of the parts undoes it, because Keras passes it
    on to every layer.

    Args:
        parts: The models that the network consists of, from its input to its output.
        policy: "train", "partial" or "frozen".

    Raises:
        ValueError: For an unknown policy, or if there is nothing to freeze.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    norms = [norm for part in parts for norm in _batch_norms(part)]
    if policy != "train" and not norms:
        raise ValueError(
            f"policy must be train for {', '.join(part.name for part in parts)}, which has no "
            f"batch normalization, got {policy!r}"
        )
    seen = set()
    for norm, of_flow in norms:
        first = of_flow not in seen
        seen.add(of_flow)
        norm.trainable = {"train": True, "partial": first, "frozen": False}[policy]


def _batch_norms(layer, of_flow=False):
    """Yield the batch normalizations in a layer or model, from its input to its output, each with
    whether it belongs to the flow stream of a two-stream backbone."""
    of_flow = of_flow or layer.name == "flow" or layer.name.startswith("flow_")
    if isinstance(layer, layers.BatchNormalization):
        yield layer, of_flow
    parts = [layer.layer] if isinstance(layer, layers.Wrapper) else getattr(layer, "layers", [])
    for part in parts:
        yield from _batch_norms(part, of_flow)
