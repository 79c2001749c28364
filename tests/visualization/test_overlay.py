"""Overlays put each weight where it belongs, in a color that means the same everywhere."""

import base64

import av
import numpy as np
import pytest

from keras_attn.errors import UserError
from keras_attn.visualization import overlay, timeline

cv2 = pytest.importorskip("cv2")

FRAMES, HEIGHT, WIDTH, ROWS, COLUMNS, CLASSES = 7, 61, 90, 3, 5, 4


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def one_hot_cell(row, column):
    where = np.zeros((ROWS, COLUMNS))
    where[row, column] = 1
    return where


def brightness(picture):
    return picture.astype(float).sum(-1)


def video(rng, frames=FRAMES):
    return {
        "frames": rng.integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype="uint8"),
        "where": rng.dirichlet(np.ones(ROWS * COLUMNS), frames).reshape(frames, ROWS, COLUMNS),
        "step_probabilities": rng.dirichlet(np.ones(CLASSES), frames),
        "class_names": ["Run", "Ski", "Café", "滑冰"],
        "when": rng.dirichlet(np.ones(frames)),
        "fps": 12.5,
    }


@pytest.mark.parametrize("cell", [(0, 0), (2, 4), (1, 2), (0, 3), (2, 1)])
@pytest.mark.parametrize("size", [(60, 100), (99, 40), (64, 64)])
def test_a_hot_cell_appears_in_its_place(cell, size):
    bright = brightness(overlay.heat(one_hot_cell(*cell), size, scale=15))
    y, x = np.nonzero(bright == bright.max())
    middle = ((y.mean() + 0.5) / size[0] * ROWS - 0.5, (x.mean() + 0.5) / size[1] * COLUMNS - 0.5)
    # A cell at the border stays hot up to the border, half a cell beyond its center.
    assert middle == pytest.approx(cell, abs=0.3)


def test_bilinear_weights_equal_a_loop(rng):
    where = rng.dirichlet(np.ones(ROWS * COLUMNS)).reshape(ROWS, COLUMNS)
    size, scale = (12, 25), 9.0
    level = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = np.clip((i + 0.5) / size[0] * ROWS - 0.5, 0, ROWS - 1)
            x = np.clip((j + 0.5) / size[1] * COLUMNS - 0.5, 0, COLUMNS - 1)
            for row in range(ROWS):
                for column in range(COLUMNS):
                    near = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                    level[i, j] += near * where[row, column]
    level = np.clip(level * ROWS * COLUMNS / scale, 0, 1) * 255
    colors = cv2.applyColorMap(np.arange(256, dtype="uint8")[None], cv2.COLORMAP_INFERNO)
    colors = colors.reshape(256, 3)[:, ::-1].astype(int)
    shown = overlay.heat(where, size, scale).astype(int)
    nearest = np.abs(shown[..., None, :] - colors).sum(-1).argmin(-1)
    assert np.abs(nearest - level).max() <= 1


def test_a_uniform_map_has_one_dull_color_and_peaks_share_the_scale():
    uniform = overlay.heat(np.full((ROWS, COLUMNS), 1 / 15), (30, 50))
    assert len(np.unique(uniform.reshape(-1, 3), axis=0)) == 1
    quarter = 255 * 1 / overlay.SCALE
    assert brightness(uniform).max() < brightness(overlay.heat(one_hot_cell(0, 0), (30, 50))).max()
    assert uniform[0, 0].tolist() == overlay._colors()[round(quarter)].tolist()
    # The same weight has the same color, whatever the peak elsewhere in its frame.
    low, high = np.full((ROWS, COLUMNS), 0.05), np.full((ROWS, COLUMNS), 0.05)
    low[0, 0], low[2, 4] = 0.15, 0.25
    high[0, 0], high[2, 4], high[2, 0], high[2, 2] = 0.15, 0.34, 0.01, 0.0
    first, second = (overlay.heat(m / m.sum(), (30, 50)) for m in (low, high))
    assert low.sum() == pytest.approx(high.sum())
    assert first[0, 0].tolist() == second[0, 0].tolist()
    assert brightness(first)[-1, -1] < brightness(second)[-1, -1]
    # Half the scale's end: twice as bright a place on it.
    halved = overlay.heat(np.full((ROWS, COLUMNS), 1 / 15), (30, 50), scale=2.0)
    assert halved[0, 0].tolist() == overlay._colors()[128].tolist()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (np.ones((3, 5)), "sum to one, got 15"),
        (np.full((3, 5), np.nan), "finite"),
        (np.ones(15) / 15, r"\(h, w\)"),
        (np.array([[1.5, -0.5]]), "not negative"),
    ],
)
def test_a_map_that_is_no_weights_is_refused(where, message):
    with pytest.raises(ValueError, match=message):
        overlay.heat(where, (30, 50))


def test_an_overlay_keeps_the_picture_and_lights_the_attended_place(rng):
    frame = np.full((60, 100, 3), 120, "uint8")
    frame[:, :50] = 30
    lit = overlay.overlay(frame, one_hot_cell(2, 4))
    assert lit.shape == frame.shape and lit.dtype == np.uint8
    assert brightness(lit)[50, 90] > brightness(lit)[10, 90] > brightness(lit)[10, 10]


def test_key_frames_go_from_the_first_to_the_last():
    assert overlay.key_frames(30, 4).tolist() == [0, 10, 19, 29]
    assert overlay.key_frames(3, 6).tolist() == [0, 1, 2]
    assert overlay.key_frames(1, 6).tolist() == [0]


def test_a_strip_shows_frames_above_and_their_maps_below():
    frames = np.stack([np.full((40, 60, 3), 10 * t, "uint8") for t in range(9)])
    where = np.stack([one_hot_cell(t % 3, 4 - t % 5) for t in range(9)])
    picture = overlay.strip(frames, where, count=3, height=40)
    assert picture.shape == (2 * 40 + 4, 3 * 60 + 2 * 4, 3)
    for column, number in enumerate((0, 4, 8)):
        left = column * 64
        assert (picture[:40, left : left + 60] == 10 * number).all()
        expected = overlay.overlay(frames[number], where[number])
        np.testing.assert_array_equal(picture[44:, left : left + 60], expected)
    with pytest.raises(UserError, match="9 frames, but where 8"):
        overlay.strip(frames, where[:8])


def test_jpeg_data_uri_decodes_to_the_picture():
    picture = np.zeros((16, 24, 3), "uint8")
    picture[..., 0] = 200  # red, so that swapped channels show
    head, data = overlay.jpeg_data_uri(picture, quality=95).split(",")
    assert head == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), "uint8"), cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - picture).max() < 6


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_the_video_decodes_to_all_frames_of_one_even_size(rng, tmp_path, frames):
    path = tmp_path / "new folder" / "overlay.mp4"
    overlay.write_overlay(path, **video(rng, frames), title="Läufer <1>.avi")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 12.5
    assert len(decoded) == frames
    assert {picture.shape for picture in decoded} == {decoded[0].shape}
    height, width = decoded[0].shape[:2]
    assert width >= 480 and height % 2 == 0 and width % 2 == 0
    assert [p.name for p in path.parent.iterdir()] == ["overlay.mp4"]


def test_the_attention_of_each_frame_stands_next_to_that_frame(rng, tmp_path):
    content = video(rng, 6)
    content["frames"] = np.full((6, HEIGHT, WIDTH, 3), 90, "uint8")
    cells = [(0, 0), (2, 4), (0, 4), (2, 0), (1, 1), (1, 3)]
    content["where"] = np.stack([one_hot_cell(*cell) for cell in cells])
    overlay.write_overlay(tmp_path / "a.mp4", **content)
    height, width = overlay._picture_size((HEIGHT, WIDTH))
    left = overlay._MARGIN * 2 + (overlay._WIDTH - 3 * overlay._MARGIN) // 2
    with av.open(str(tmp_path / "a.mp4")) as container:
        for (row, column), frame in zip(cells, container.decode(video=0), strict=True):
            picture = frame.to_ndarray(format="rgb24")[overlay._HEADER :, left:][:height, :width]
            bright = brightness(picture)
            y, x = np.nonzero(bright > (bright.max() + bright.min()) / 2)
            found = int(y.mean() / height * ROWS), int(x.mean() / width * COLUMNS)
            assert found == (row, column)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"where": np.full((6, 3, 5), 1 / 15)}, "7 frames, but where 6"),
        ({"when": np.ones(8) / 8}, "7 frames, but when 8"),
        ({"step_probabilities": np.ones((2, 4)) / 4}, "7 frames, but step_probabilities 2"),
        ({"class_names": ["Run"]}, "1 class names for 4 classes"),
        ({"fps": 0}, "fps must be more than 0"),
        ({"fps": float("nan")}, "fps must be more than 0"),
        ({"frames": np.zeros((7, 8, 8, 3))}, "uint8"),
        ({"path": "overlay.avi"}, r"ends in \.mp4"),
    ],
)
def test_a_call_that_cannot_work_is_refused_and_leaves_nothing(rng, tmp_path, change, message):
    arguments = video(rng) | change
    path = tmp_path / arguments.pop("path", "overlay.mp4")
    with pytest.raises(UserError, match=message):
        overlay.write_overlay(path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_the_old_file(rng, tmp_path):
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"old")
    content = video(rng)
    content["where"][4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        overlay.write_overlay(path, **content)
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.mp4"]
    assert path.read_bytes() == b"old"


def test_the_timeline_draws_the_three_classes_of_the_largest_mean(rng):
    steps = np.full((FRAMES, CLASSES), 0.1)
    steps[:, 2], steps[:, 0] = 0.5, 0.3
    steps[3] = [0.0, 0.9, 0.1, 0.0]  # one high frame does not outweigh the others
    panel = timeline.Timeline(steps, ["a", "b", "c", "d"], np.ones(FRAMES) / FRAMES, 25, 960)
    assert panel.names == ["c", "a", "b"]
    assert panel.draw(0).shape == (panel.height, 960, 3)
    assert not np.array_equal(panel.draw(2), panel.draw(3))
    two = timeline.Timeline(steps[:, :2], ["a", "b"], np.ones(FRAMES) / FRAMES, 25, 960)
    assert two.names == ["a", "b"]


def test_the_cursor_and_the_curve_stand_at_the_present(rng):
    steps = np.stack([np.linspace(0, 1, FRAMES), np.linspace(1, 0, FRAMES)], 1)
    panel = timeline.Timeline(steps, ["up", "down"], np.ones(FRAMES) / FRAMES, 25, 960)
    for number in (0, 3, 6):
        picture = panel.draw(number)
        x = round(float(panel.x[number]))
        column = picture[-60, :, :].astype(int).sum(-1)
        assert column[: 960 - timeline._RIGHT + 10].argmax() == x
    y = timeline._TOP + timeline._CURVES * (1 - 1 / 6)  # the second frame of the rising class
    x = round(float(panel.x[1]))
    color = timeline._LINES[panel.names.index("up")]
    assert np.abs(panel.draw(6)[round(y), x].astype(int) - color).max() < 60


def test_names_are_drawable_and_losses_are_visible():
    assert timeline.drawable("Café São") == "Cafe Sao"
    assert timeline.drawable("滑冰\n") == "\\u6ed1\\u51b0\\n"
    assert timeline.drawable("plain ASCII, {100%}") == "plain ASCII, {100%}"
