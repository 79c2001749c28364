"""An input that a recipe's model or backbone cannot see is refused in words, and first."""

import pytest

import keras_attn
from keras_attn.data.streams import INPUTS
from keras_attn.errors import UsageError
from keras_attn.recipes import RECIPES, override
from keras_attn.recipes.inputs import possible_inputs
from keras_attn.training import build

BOTH = ("rgb_and_flow",)
ONE = ("rgb", "flow", "warped_flow")


def possible(recipe):
    return possible_inputs(recipe.model, recipe.backbone, recipe.arguments)[0]


REFUSED = [
    (name, kind)
    for name, recipe in RECIPES.items()
    for kind in INPUTS
    if kind not in possible(recipe) and not (kind in ONE and recipe.flow_changes)
]


def test_inputs_of_each_model_and_backbone():
    assert possible(RECIPES["sta_cnn"]) == ("rgb",)  # the attention network sees two frames
    assert possible(override(RECIPES["sta_cnn"], {"input": "flow"})) == ONE
    assert possible(RECIPES["pyramid_attention_tsm"]) == ONE
    assert possible(RECIPES["attention_fusion"]) == BOTH
    assert possible(RECIPES["motion_reinforcement"]) == BOTH
    assert possible(RECIPES["where_and_when"]) == INPUTS
    imported = override(RECIPES["attention_fusion"], {"input": "rgb", "backbone": "features:mine"})
    assert possible(imported) == INPUTS


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_other_inputs_are_refused(name, kind):
    message = f"^input must be {' or '.join(possible(RECIPES[name]))}, got {kind}: .*; "
    with pytest.raises(UsageError, match=message):
        override(RECIPES[name], {"input": kind})


def test_a_recipe_that_was_made_with_it_is_refused_too(tmp_path):
    recipe = override(RECIPES["structured_attention"], {"input": "flow", "clips.snippet": 5})
    changed = {"model": "attention_fusion", "arguments": {}}
    wrong = type(recipe)(**{**vars(recipe), **changed})
    with pytest.raises(UsageError, match="input must be rgb_and_flow, got flow"):
        build.resolve(wrong)
    with pytest.raises(UsageError, match="input must be rgb_and_flow, got flow"):
        keras_attn.features(tmp_path, recipe=wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "motion_reinforcement_mobilenet", "input": "flow"}, "^input must be rgb_and"),
        ({"recipe": "sta_cnn_mobilenet", "input": "rgb_and_flow"}, "^input must be rgb or flow"),
        ({"backbone": "resnet_50_reinforced"}, "got rgb; resnet_50 sees one stream"),
    ],
)
def test_features_refuse_them_too(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        keras_attn.features(tmp_path, **options)
