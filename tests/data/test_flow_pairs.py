"""Pairs of frames with their flow: found, checked, stretched, and in an order of their own."""

import numpy as np
import pytest
import tensorflow as tf
from flow_files import write_planes, write_ppm, write_truth

from keras_attn.data import batches, flow_pairs, records, sampling
from keras_attn.data.flow_pairs import ClipPairs, TruePairs
from keras_attn.data.video import Video
from keras_attn.errors import DataError
from keras_attn.flow.codec import write_flo


@pytest.fixture
def truth(rng, tmp_path):
    return write_truth(tmp_path / "truth", rng, 7, height=20, width=40)


def test_pixels_of_a_ppm_are_read_with_comments_too(rng, tmp_path):
    pixels = rng.integers(0, 256, (3, 5, 3), dtype="uint8")
    write_ppm(tmp_path / "a.ppm", pixels)
    write_ppm(tmp_path / "b.ppm", pixels, comment=b"# 1 2\n#three\n ")
    for name in ("a.ppm", "b.ppm"):
        found = flow_pairs.read_ppm(tmp_path / name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"P5\n2 1\n255\n" + bytes(6), "is no binary PPM"),
        (b"P6\n2 1\n65535\n" + bytes(12), "is no binary PPM"),
        (b"P6 0 1 255 ", "is no binary PPM"),
        (b"", "is no binary PPM"),
        (b"P6\n2 1\n255\n" + bytes(5), "has 16 bytes, expected 17 for 2 x 1 pixels"),
        (b"P6\n2 1\n255\n" + bytes(7), "has 18 bytes, expected 17 for 2 x 1 pixels"),
    ],
)
def test_other_files_are_no_ppm(tmp_path, data, message):
    (tmp_path / "a.ppm").write_bytes(data)
    with pytest.raises(DataError, match=f"a.ppm: {message}"):
        flow_pairs.read_ppm(tmp_path / "a.ppm")


def test_pairs_are_found_under_both_names(truth):
    found = flow_pairs.true_pairs(truth)
    assert len(found) == 7
    ends = ("00003_img1.ppm", "00003_img2.ppm", "00003_flow.flo")
    assert [path.removeprefix(f"{truth}/") for path in found[2]] == list(ends)
    for path in sorted(truth.iterdir()):
        for old, new in zip(*flow_pairs.SUFFIXES, strict=True):
            if path.name.endswith(old):
                path.rename(truth / path.name.replace(old, new))
    again = flow_pairs.true_pairs(truth)
    assert [path.removeprefix(f"{truth}/") for path in again[2]] == [
        "00003-img0.ppm",
        "00003-img1.ppm",
        "00003-gt.flo",
    ]


def test_folders_that_are_not_complete_are_refused(truth, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        flow_pairs.true_pairs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no pairs .*NAME_img1.ppm, .* or NAME-img0.ppm"):
        flow_pairs.true_pairs(tmp_path)
    (truth / "00002_flow.flo").unlink()
    with pytest.raises(DataError, match="lacks 1 files of 7 pairs, as 00002_flow.flo; copy"):
        flow_pairs.true_pairs(truth)


def test_pairs_whose_sizes_differ_are_refused(truth):
    write_flo(truth / "00001_flow.flo", np.zeros((20, 39, 2)))
    with pytest.raises(DataError, match=r"00001_flow.flo: has 6252 bytes, expected 6412 .*40 x 20"):
        flow_pairs.true_pairs(truth)
    write_flo(truth / "00001_flow.flo", np.zeros((40, 20, 2)))  # as many pixels, but not the size
    batches = flow_pairs.batches(TruePairs(tuple(flow_pairs.true_pairs(truth))), 8, 7)
    with pytest.raises(tf.errors.OpError, match="00001_flow.flo: is of another size than"):
        list(batches)
    write_ppm(truth / "00001_img2.ppm", np.zeros((20, 41, 3), "uint8"))
    with pytest.raises(DataError, match=r"img2.ppm: has 41 x 20 .*00001_img1.ppm, 40 x 20"):
        flow_pairs.true_pairs(truth)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.7e9, -1.7e9])
def test_flow_that_is_unknown_somewhere_is_refused(truth, value):
    flow = np.zeros((20, 40, 2))
    flow[3, 4:6, 1] = value
    write_flo(truth / "00001_flow.flo", flow)
    batches = flow_pairs.batches(TruePairs(tuple(flow_pairs.true_pairs(truth))), 8, 7)
    with pytest.raises(tf.errors.OpError, match="00001_flow.flo: the flow of 2 of 800 pixels is"):
        list(batches)


def test_flow_is_stretched_in_its_values_too():
    columns, rows = np.meshgrid(np.arange(40.0), np.arange(20.0))
    flow = np.stack([0.3 * columns, 2 - 0.1 * rows], -1).astype("float32")
    frames = np.stack([np.full((30, 50, 3), 7), np.full((30, 50, 3), 250)]).astype("uint8")
    side_by_side, stretched = flow_pairs.stretched(tf.constant(frames), tf.constant(flow), 10)
    expected = np.broadcast_to([7] * 3 + [250] * 3, (10, 10, 6))
    np.testing.assert_allclose(side_by_side, expected, rtol=1e-5)
    for i in range(2, 8):
        for j in range(2, 8):
            # The center of cell j lies at column 4 j + 1.5; 40 pixels became 10, 20 rows too.
            x = 0.3 * (4 * j + 1.5) * 10 / 40
            y = (2 - 0.1 * (2 * i + 0.5)) * 10 / 20
            assert stretched[i, j].numpy() == pytest.approx((x, y), abs=1e-5)


def test_a_fifth_is_held_out():
    assert flow_pairs.held_out(list(range(12))) == ([0, 1, 2, 3, 5, 6, 7, 8, 10, 11], [4, 9])
    assert flow_pairs.held_out("abcde") == (list("abcd"), ["e"])
    assert flow_pairs.held_out("ab") == (["a"], ["b"])
    with pytest.raises(DataError, match="cannot be learned from 1 pairs or groups of videos"):
        flow_pairs.held_out("a")


def test_every_pair_comes_once_an_epoch_in_an_order_of_seed_and_epoch(truth):
    for i in range(1, 8):
        write_flo(truth / f"{i:05}_flow.flo", np.full((20, 40, 2), i))
    pairs = TruePairs(tuple(flow_pairs.true_pairs(truth)))

    def seen(**order):
        batches = list(flow_pairs.batches(pairs, 10, 3, **order))
        assert [frames.shape for frames, _ in batches] == [(n, 10, 10, 6) for n in (3, 3, 1)]
        return [round(float(y)) for _, flow in batches for y in 2 * flow[:, 5, 5, 1]]

    assert seen() == [1, 2, 3, 4, 5, 6, 7]
    orders = [seen(seed=3, epoch=epoch) for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert [sorted(order) for order in orders] == [[1, 2, 3, 4, 5, 6, 7]] * 3


def test_pairs_of_clips_are_neighbors_with_the_plane_between_them(tiny_data, tmp_path):
    videos = []
    for record in records.read_index(tiny_data)[:2]:
        planes = np.arange(11)[:, None, None] * np.ones((11, 12, 24), int)
        x, y = (20 * planes).astype("uint8"), (250 - 20 * planes).astype("uint8")
        flow = write_planes(tmp_path, record, x, y).path
        videos.append(Video(record.id, record.path, 12, 0, flow))
    pairs = ClipPairs(tuple(videos), each=3)
    assert len(pairs) == 6
    frames_of = [batches.encoded_frames(v.path) for v in videos]

    def plane(frames, flow, video):
        k = round((float(flow[0, 0, 0]) / (16 / 24) * 255 / 40 + 127.5) / 20)
        expected = [batches.picture(frames_of[video][k + i], 16, 16) for i in (0, 1)]
        np.testing.assert_allclose(frames, np.concatenate(expected, -1), atol=1e-3)
        value_y = (250 - 20 * k - 127.5) * 40 / 255 * 16 / 12
        np.testing.assert_allclose(flow[..., 1], value_y, rtol=1e-5)
        return k

    def planes(**order):
        ((frames, flow),) = flow_pairs.batches(pairs, 16, 6, **order)
        return frames.numpy(), flow.numpy()

    frames, flow = planes()
    found = [plane(frames[i], flow[i], i // 3) for i in range(6)]
    assert found == [1, 5, 9] * 2  # the middles of thirds of 11: 1.8, 5.5, 9.2
    drawn = set()
    for epoch in range(6):
        order = sampling.epoch_order(6, 4, epoch)
        frames, flow = planes(seed=4, epoch=epoch)
        for i, number in enumerate(order):
            k = plane(frames[i], flow[i], number // 3)
            assert number % 3 == min(k * 3 // 11, 2) or k in (3, 7)  # parts meet inside 3 and 7
            drawn.add(k)
    assert len(drawn) > 6
