"""Which batch normalisations of a pretrained network go on learning."""

from keras import layers

POLICIES = ("train", "partial", "frozen")


def set_batch_norm(parts, policy: str) -> None:
    """Let all batch normalisations of a network learn, only the first of each stream, or none.

    `parts` are the models it consists of, from its input to its output.

    `"partial"` is the policy of temporal segment networks (Wang et al. 2016): the first one alone
    sees another kind of input than the network was pretrained on, so it learns and the others are
    frozen. Where one backbone has two streams, RGB and flow, each has such a first one. A frozen
    one uses its moving statistics in training too and leaves them as they are, and its scale and
    offset with them.

    Call it before `compile`. It is undone by setting `trainable` of the parts, which Keras passes
    on to every layer.

    Raises `ValueError` for an unknown policy, or if there is nothing to freeze.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    norms = [norm for part in parts for norm in _batch_norms(part)]
    if policy != "train" and not norms:
        raise ValueError(
            f"policy must be train for {', '.join(part.name for part in parts)}, which has no "
            f"batch normalisation, got {policy!r}"
        )
    seen = set()
    for norm, of_flow in norms:
        first = of_flow not in seen
        seen.add(of_flow)
        norm.trainable = {"train": True, "partial": first, "frozen": False}[policy]


def _batch_norms(layer, of_flow=False):
    """Those of a layer or model and of what it holds, from its input to its output; each with
    whether it is in the part of a backbone of two streams that sees flow."""
    of_flow = of_flow or layer.name == "flow" or layer.name.startswith("flow_")
    if isinstance(layer, layers.BatchNormalization):
        yield layer, of_flow
    parts = [layer.layer] if isinstance(layer, layers.Wrapper) else getattr(layer, "layers", [])
    for part in parts:
        yield from _batch_norms(part, of_flow)
