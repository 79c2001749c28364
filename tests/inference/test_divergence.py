"""A model that diverged says so: NaN is never shown, scored or exported as an answer."""

import shutil

import keras
import numpy as np
import pytest

import keras_attn
from keras_attn.errors import UserError
from keras_attn.inference.trained_model import open_model
from keras_attn.serving import exporting
from keras_attn.serving.reference import Case


@pytest.fixture(scope="module")
def diverged(tiny_run, tmp_path_factory):
    """A finished run whose weights became NaN."""
    folder = tmp_path_factory.mktemp("diverged") / "run"
    folder.mkdir()
    for name in ("run.json", "results.json"):
        shutil.copy(tiny_run / name, folder)
    model = keras.models.load_model(tiny_run / "model.keras", compile=False)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save(folder / "model.keras")
    return folder


@pytest.fixture
def named(diverged):
    """A function that asserts that what it calls is refused, by the name of the run."""

    def refused(function, *arguments, **options):
        with pytest.raises(UserError, match="answers NaN or infinity .*learning_rate") as raised:
            function(*arguments, **options)
        assert str(raised.value).startswith(str(diverged))

    return refused


def test_no_verb_takes_nan_for_an_answer(diverged, named, tiny_data, tmp_path):
    video = next((tiny_data.parent / "videos").rglob("*.mp4"))
    model = open_model(diverged)
    with pytest.raises(UserError, match="answers NaN"):
        keras_attn.explain(video, model, tmp_path / "maps.npz")
    named(keras_attn.predict, video, model)
    named(keras_attn.evaluate, diverged, examples=0)
    assert not (tmp_path / "maps.npz").exists() and not (diverged / "evaluation").exists()


def test_a_run_that_answers_nan_is_not_exported(diverged, named, tmp_path, monkeypatch):
    frames = np.zeros((1, 3, 8, 8, 3), "uint8")

    def reference(recognizer):
        answer = {key: value[None] for key, value in recognizer.ask(frames=frames[0]).items()}
        return [Case("explain", frames, answer)]

    monkeypatch.setattr(exporting, "make_reference", reference)
    named(keras_attn.export, diverged, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir()), "nothing is staged for it"
