"""A training that fails before its first step leaves no run; untrained networks are named."""

import dataclasses
import functools

import keras
import pytest
import tensorflow as tf
from small import SMALL, eagerly, refused

from keras_attn.cli import main
from keras_attn.errors import UsageError, UserError
from keras_attn.models import MODELS
from keras_attn.recipes import RECIPES, override
from keras_attn.recipes.untrained import untrained
from keras_attn.training import train

VIDEO = dataclasses.replace(
    SMALL, cached=False, epochs=1, batch_size=8, accumulate=1, arguments={"units": 4}
)
WITHOUT_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.fixture
def fails(monkeypatch):
    """A function that makes a training step raise an error, the first or a later one."""

    def at(error, step=1):
        train_on_batch, left = keras.Model.train_on_batch, [step]

        def failing(self, *arguments, **options):
            left[0] -= 1
            if not left[0]:
                raise error
            return train_on_batch(self, *arguments, **options)

        monkeypatch.setattr(keras.Model, "train_on_batch", failing)

    return at


def test_a_run_that_fails_before_its_first_step_is_removed(tiny_data, tmp_path, fails, capsys):
    workdir = tmp_path / "new" / "run"
    fails(TypeError("Failed to convert elements\nmore"))
    with pytest.raises(TypeError):
        train.train(VIDEO, tiny_data, workdir)
    assert not workdir.exists()
    settings = [f"clips.{name}" for name in ("size=32", "frames=4", "stride=3")]
    command = ["train", "structured_attention_tiny", "--data", str(tiny_data)]
    command += ["--workdir", str(workdir), *(f"--set={text}" for text in settings)]
    fails(TypeError("Failed to convert elements\nmore"))
    assert main(command) == 1
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: TypeError: Failed to convert elements (") and "more" not in line
    assert main(["evaluate", str(workdir)]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_a_lack_of_memory_is_told_in_words(tiny_data, tmp_path, fails, monkeypatch):
    fails(WITHOUT_MEMORY)
    message = "run: a step needs more memory than there is. Lower batch_size"
    with pytest.raises(UserError, match=message):
        train.train(VIDEO, tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(train.build, "build_model", lambda *arguments: raised(MemoryError()))
    refused(UserError, "the model needs more memory", VIDEO, tiny_data, tmp_path / "run")


def raised(error):
    raise error


def test_a_run_that_learned_or_was_there_stays(tiny_data, tmp_path, fails):
    with eagerly():
        fails(WITHOUT_MEMORY, step=2)
        with pytest.raises(UserError):
            train.train(VIDEO, tiny_data, tmp_path / "run")
        assert (tmp_path / "run" / "run.json").exists()
        fails(WITHOUT_MEMORY)
        with pytest.raises(UserError):
            train.train(VIDEO, tiny_data, tmp_path / "run", resume=True)
        assert (tmp_path / "run" / "run.json").exists()


def test_features_whose_model_could_not_be_saved_are_refused_first(
    tiny_features, tmp_path, monkeypatch
):
    """A model is trained on features without its backbone, and saved with it."""
    build = MODELS["structured_attention"].__init__

    @functools.wraps(build)
    def small_only(self, num_classes, input_shape, **arguments):
        if len(input_shape) == 4 and input_shape[1] == SMALL.clips.size:
            raise ValueError("the backbone cannot see this")
        build(self, num_classes, input_shape=input_shape, **arguments)

    monkeypatch.setattr(MODELS["structured_attention"], "__init__", small_only)
    message = "could learn from these features, but .*the backbone cannot see this"
    refused(UsageError, message, SMALL, tiny_features, tmp_path / "run")


# === Untrained networks ===


def test_a_recipe_says_which_of_its_networks_are_untrained():
    found = {name: untrained(recipe) for name, recipe in RECIPES.items()}
    assert {name for name in found if found[name]} == {"sta_cnn", "pyramid_attention_tsm"}
    backbone, attention = found["sta_cnn"]
    assert "bn_inception starts from random weights, and all but the first" in backbone
    assert "flownet_s starts from random weights" in attention
    given = {"backbone_weights": "a.h5", "model.attention_weights": "b.h5"}
    assert not untrained(override(RECIPES["sta_cnn"], given))
    (backbone,) = untrained(override(RECIPES["sta_cnn"], {"pretraining.clips_epochs": "1"}))
    assert "backbone" in backbone
    (backbone,) = untrained(override(RECIPES["sta_cnn"], {"input": "flow"}))
    assert "backbone" in backbone
    random = {
        name: untrained(override(RECIPES[name], {"backbone_weights": None})) for name in found
    }
    assert all(bool(random[name]) != name.endswith("_tiny") for name in found)
    assert "`backbone_weights=imagenet`" in random["pyramid_attention"][0]
    assert "features --weights" in random["where_and_when"][0]
