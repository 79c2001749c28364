"""An explanation is a playable video of every frame, with the answer that `predict` gives."""

import av
import pytest

from keras_attn import explain, predict
from keras_attn.errors import DataError, UserError


@pytest.fixture(scope="module")
def video(tiny_data):
    return sorted((tiny_data.parent / "videos").rglob("*.mp4"))[5]


def test_run_and_export_explain_alike(video, tiny_run, tiny_export, tmp_path):
    (expected,) = predict(video, tiny_run, top_k=1)
    for name, model in (("run", tiny_run), ("export", tiny_export)):
        found = explain(video, model, tmp_path / f"{name}.MP4")
        assert (found.path, found.video) == (tmp_path / f"{name}.MP4", str(video))
        assert found.answer == expected.guesses[0].name
        assert found.probability == pytest.approx(expected.guesses[0].probability, abs=1e-5)
        with av.open(str(found.path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 25
        assert len(frames) == found.frames == 12
        assert frames[0].std() > 20, "a picture, not one color"
    assert found.as_dict()["path"] == str(found.path)


def test_mistakes_are_told_before_the_work_and_leave_no_file(video, tiny_run, tmp_path):
    with pytest.raises(UserError, match="out.avi: an overlay is an MP4 file"):
        explain(video, "no model is opened", tmp_path / "out.avi")
    with pytest.raises(UserError, match="no such folder"):
        explain(video, tmp_path / "nothing", tmp_path / "out.mp4")
    with pytest.raises(DataError, match="none.mp4: "):
        explain(tmp_path / "none.mp4", tiny_run, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []
