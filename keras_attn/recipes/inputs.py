"""Which inputs the model and the backbone of a recipe can see."""

from keras_attn.data.streams import INPUTS
from keras_attn.errors import UsageError


def possible_inputs(model: str, backbone: str, arguments: dict) -> tuple[tuple[str, ...], str]:
    """Return the values of `Recipe.input` that go with the other fields, and why no others do.

    Args:
        model: Key of `keras_attn.models.MODELS`; for any other all inputs are possible.
        backbone: As in `Recipe`.
        arguments: Arguments of the model's constructor.
    """
    from keras_attn.backbones import BACKBONES
    from keras_attn.models import MODELS

    if backbone.startswith("features:"):  # they are what they are
        return INPUTS, ""
    if getattr(MODELS.get(model), "streams", 1) == 2:
        return ("rgb_and_flow",), (
            f"the model {model} joins two streams; recipes of pyramid_attention see one"
        )
    if backbone in BACKBONES and BACKBONES[backbone].reinforced:
        plain = backbone.removesuffix("_reinforced")
        return ("rgb_and_flow",), (
            f"in the backbone {backbone} flow multiplies RGB; backbone={plain} sees one stream"
        )
    network = arguments.get("attention_network", "shared")
    if model == "sta_cnn" and network != "shared":
        return ("rgb",), (
            f"the attention network {network} looks at two RGB frames; "
            "model.attention_network=shared sees what the backbone sees, RGB or flow"
        )
    if model in ("sta_cnn", "pyramid_attention"):
        return ("rgb", "flow", "warped_flow"), (
            f"the model {model} sees one stream; train it once per stream and join the scores with "
            "keras-attn fuse, or take a recipe of attention_fusion"
        )
    return INPUTS, ""


def check_input(model: str, backbone: str, arguments: dict, input: str) -> None:
    """`UsageError` for a known input that the model or the backbone of a recipe cannot see."""
    possible, reason = possible_inputs(model, backbone, arguments)
    if input in INPUTS and input not in possible:
        raise UsageError(f"input must be {' or '.join(possible)}, got {input}: {reason}")
