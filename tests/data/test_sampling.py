"""Windows cover every frame of every video; order and seeds are functions of (seed, epoch)."""

import itertools

import numpy as np
import pytest

from keras_attn.data.sampling import epoch_order, example_seeds, window_indices, window_starts

FRAMES, STRIDE = 30, 7


def lengths(frames):
    return sorted({1, 2, frames - 1, frames, frames + 1, 7, 30, 250} - {0})


@pytest.mark.parametrize(
    ("frames", "stride", "length"),
    [(f, s, n) for f, s in [(30, 2), (30, 7), (16, 16), (2, 1), (1, 1)] for n in lengths(f)],
)
def test_windows_are_in_range_sorted_and_leave_no_frame_out(frames, stride, length):
    starts = window_starts(length, frames, stride)
    assert starts[0] == 0
    assert starts[-1] == max(length - frames, 0)
    assert np.all(np.diff(starts) > 0) and np.all(np.diff(starts) <= stride)
    assert np.all(starts[:-1] % stride == 0)
    windows = np.stack([window_indices(start, length, frames) for start in starts])
    assert windows.shape == (len(starts), frames)
    assert windows.min() == 0 and windows.max() == length - 1
    assert set(windows.ravel()) == set(range(length))
    steps = np.diff(windows, axis=1)
    assert np.all((steps == 1) | ((steps == 0) & (windows[:, 1:] == length - 1)))
    if length >= frames:
        assert np.all(steps == 1)


def test_starts_by_hand():
    assert window_starts(10, 4, 3).tolist() == [0, 3, 6]
    assert window_starts(11, 4, 3).tolist() == [0, 3, 6, 7]
    assert window_starts(3, 4, 3).tolist() == [0]
    assert window_indices(0, 3, 6).tolist() == [0, 1, 2, 2, 2, 2]
    assert window_indices(2, 9, 4).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("length", [0, -1])
def test_an_empty_video_is_refused(length):
    with pytest.raises(ValueError, match=f"at least 1 frame, got {length}"):
        window_starts(length, FRAMES, STRIDE)


def test_order_is_a_permutation_that_seed_and_epoch_decide():
    orders = {key: epoch_order(40, *key) for key in itertools.product((0, 1, 9), (0, 1, 2))}
    for key, order in orders.items():
        assert sorted(order) == list(range(40))
        np.random.seed(1)
        np.testing.assert_array_equal(order, epoch_order(40, *key))
    assert len({tuple(order) for order in orders.values()}) == 9


def test_seeds_belong_to_examples_and_differ():
    seeds = example_seeds(40, 3, 4)
    assert seeds.shape == (40, 2) and seeds.dtype == np.int32 and seeds.min() >= 0
    assert len({tuple(row) for row in seeds}) == 40
    np.testing.assert_array_equal(seeds, example_seeds(40, 3, 4))
    np.testing.assert_array_equal(seeds[:10], example_seeds(10, 3, 4))
    assert not np.any(np.all(seeds == example_seeds(40, 3, 5), axis=1))
    assert not np.any(np.all(seeds == example_seeds(40, 4, 4), axis=1))
