"""Public layers, losses, models and functions describe every parameter in an `Args:` block."""

import inspect

import pytest
from docstrings import undocumented

from keras_attn import backbones, flow, layers, losses, models, testing
from keras_attn.flow import codec, tvl1, warped

MODULES = (backbones, flow, layers, losses, models, testing, codec, tvl1, warped)
INHERITED = {models.AttentionFusionNetwork}  # its arguments are those of its base
PUBLIC = {
    f"{module.__name__}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if name in getattr(module, "__all__", vars(module)) and not name.startswith("_")
    if inspect.isclass(value) or inspect.isfunction(value)
    if hasattr(module, "__all__") or value.__module__ == module.__name__
    if not hasattr(value, "_fields") and not hasattr(value, "__dataclass_fields__")
    if value not in INHERITED
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_described_and_no_other(name):
    assert undocumented(PUBLIC[name]) == []


# Not a paper's, or with the protocol of another model.
OTHERS = {"attention_fusion", "frame_classifier"}


@pytest.mark.parametrize("name", sorted(set(models.MODELS) - OTHERS))
def test_the_page_of_a_model_states_its_differences_and_its_protocol(name):
    page = inspect.getdoc(inspect.getmodule(models.MODELS[name]))
    assert "Differences from the paper" in page
    protocol = page.partition("Protocol: the recipe")[2]
    assert f"`{name}`" in protocol
    for topic in ("Sampling", "Frames", "Training", "Label of a video"):
        assert f"\n  - {topic}: " in protocol


def test_a_parameter_that_is_not_described_is_noticed():
    def function(first, second):
        """Does this.

        Args:
            first: One.
            third: Not there.
        """

    assert undocumented(function) == ["second", "third"]
