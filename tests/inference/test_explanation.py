"""An explanation is a playable video of every frame, or its maps as the model itself gives them."""

import av
import keras
import numpy as np
import pytest

from keras_attn import explain, predict
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.inference.loading import load_recognizer
from keras_attn.inference.maps import video_maps, write_maps
from keras_attn.inference.recognizer import Recognizer
from keras_attn.inference.trained_model import open_model
from keras_attn.models import MODELS
from keras_attn.recipes import Clips, Recipe


@pytest.fixture(scope="module")
def video(tiny_data):
    return sorted((tiny_data.parent / "videos").rglob("*.mp4"))[5]


@pytest.fixture(scope="module")
def model(tiny_run):
    return open_model(tiny_run)


def read(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_run_and_export_explain_alike(video, model, tiny_export, tmp_path):
    (expected,) = predict(video, model, top_k=1)
    maps = {}
    for name, opened in (("run", model), ("export", tiny_export)):
        out = tmp_path / f"{name}.MP4", tmp_path / f"{name}.npz"
        found = explain(video, opened, out)
        assert (found.paths, found.video) == (out, str(video))
        assert found.answer == expected.guesses[0].name
        assert found.probability == pytest.approx(expected.guesses[0].probability, abs=1e-5)
        with av.open(str(out[0])) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 25
        assert len(frames) == found.frames == 12
        assert frames[0].std() > 20, "a picture, not one color"
        maps[name] = read(out[1])
        assert found.maps.keys() == maps[name].keys()
    for name, values in maps["run"].items():
        if values.dtype.kind == "U":
            assert values.tolist() == maps["export"][name].tolist() == model.classes
        else:
            np.testing.assert_allclose(values, maps["export"][name], atol=1e-5, err_msg=name)
    assert found.as_dict()["paths"] == [str(path) for path in out]
    assert found.as_dict()["maps"]["when"] == [12]
    assert found.lines()[1].startswith("spatial_attention (4, 5, 4, 4): 0.0")


def test_maps_say_which_frames_the_clips_hold_and_when(video, model, tiny_run, tmp_path):
    explain(video, model, tmp_path / "maps.npz")
    maps = read(tmp_path / "maps.npz")
    recognizer = load_recognizer(tiny_run)
    positions = recognizer.sampler.positions(recognizer.sampler.starts(12), 12).numpy()
    assert maps["clip_frames"].tolist() == positions.tolist()
    np.testing.assert_allclose(maps["frame_times"], np.arange(12) / 25, rtol=1e-6)
    np.testing.assert_allclose(maps["clip_times"], positions / 25, rtol=1e-6)
    assert maps["spatial_attention"].shape == (*positions.shape, *maps["where"].shape[1:])
    assert maps["clip_probabilities"].shape == (len(positions), 4)
    np.testing.assert_allclose(maps["clip_probabilities"].mean(0), maps["probabilities"], rtol=1e-5)


def small(name, **arguments):
    """A recognizer of the model `name` for clips of 4 features `(2, 3, 5)`, random weights."""
    keras.utils.set_random_seed(3)
    built = MODELS[name](3, input_shape=(4, 2, 3, 5), **arguments)
    return Recognizer(built, Recipe(name, clips=Clips(frames=4, stride=2), cached=True))


PER_ITERATION = [
    ("where_and_when", {"units": 4, "attention_units": 3}, (4, 4)),
    ("where_and_when", {"units": 4, "temporal_mode": "posthoc"}, (4,)),
    ("temporal_attention", {"units": 4, "iterations": 3, "last": 2}, (3, 4)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), PER_ITERATION)
def test_raw_maps_are_those_of_the_model_for_each_clip_and_iteration(rng, name, arguments, shape):
    recognizer = small(name, **arguments)
    features = rng.normal(size=(7, 2, 3, 5)).astype("float32")
    answer = recognizer.ask(features=features)
    assert answer["clip_positions"].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert answer["temporal_attention"].shape == (3, *shape)
    clips = features[answer["clip_positions"]]
    expected = recognizer.model({"features": clips}, training=False)
    for key in recognizer.model.attention_names:
        np.testing.assert_allclose(answer[key], expected[key], atol=1e-6, err_msg=key)


def test_masks_of_other_sizes_and_one_shape_differ_in_the_maps_alone(rng):
    features = rng.normal(size=(4, 2, 3, 5)).astype("float32")
    ones, halves = (small("where_and_when", units=4, spatial=kind) for kind in ("none", "mask"))
    mask = halves.model.get_layer("spatial_attention")
    mask.set_weights([0 * w for w in mask.get_weights()])  # a sigmoid of zero
    for recognizer, share in ((ones, 1), (halves, 0.5)):
        answer = recognizer.ask(features=features)
        np.testing.assert_allclose(answer["spatial_attention"], share, rtol=1e-6)
        np.testing.assert_allclose(answer["where"], 1 / 6, rtol=1e-5)


def test_fused_models_give_the_maps_of_each(rng):
    from keras_attn.inference.fused_recognizer import FusedRecognizer

    one, other = small("where_and_when", units=4), small("temporal_attention", units=4)
    features = rng.normal(size=(1, 4, 2, 3, 5)).astype("float32")
    answers = [x.answer(features=features) for x in (one, other)]
    fused = FusedRecognizer.__new__(FusedRecognizer)
    fused.recognizers, fused.weights = [one, other], (0.5, 0.5)
    found = fused._fused(answers)
    assert "spatial_attention_1" in fused.clip_keys and "spatial_attention_2" not in found
    for number, (answer, recognizer) in enumerate(zip(answers, (one, other), strict=True), 1):
        for key in recognizer.clip_keys:
            np.testing.assert_array_equal(found[f"{key}_{number}"], answer[key])
    maps = video_maps(
        {key: x.numpy()[0] for key, x in found.items()}, ["a", "b", "c"], np.arange(4)
    )
    assert maps["clip_frames_2"].tolist() == maps["clip_times_2"].tolist() == [[0, 1, 2, 3]]


def test_mistakes_are_told_before_the_work_and_leave_no_file(video, tiny_run, tmp_path):
    with pytest.raises(UsageError, match=r"out.avi: an explanation is an overlay \(.mp4\) or its"):
        explain(video, "no model is opened", [tmp_path / "out.mp4", tmp_path / "out.avi"])
    with pytest.raises(UserError, match="no such folder"):
        explain(video, tmp_path / "nothing", tmp_path / "out.mp4")
    with pytest.raises(DataError, match="none.mp4: "):
        explain(tmp_path / "none.mp4", tiny_run, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_maps_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_maps(tmp_path / "a.npz", {"clip_frames": np.arange(3)})
    before = (tmp_path / "a.npz").read_bytes()

    def fail(file, **_):
        file.write(b"half")
        raise OSError("broken")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="broken"):
        write_maps(tmp_path / "a.npz", {"clip_frames": np.arange(9)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before
