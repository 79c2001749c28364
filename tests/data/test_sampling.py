"""Clips cover every video as they say; order and seeds are functions of (seed, epoch)."""

import itertools

import numpy as np
import pytest
from windows import dense_starts, segment_indices, window_indices, window_starts

from keras_attn.data import positions as data_positions
from keras_attn.data.batches import frame_numbers
from keras_attn.data.sampling import (
    Dense,
    Segments,
    Windows,
    epoch_order,
    example_seeds,
    sampler,
    snippets,
)
from keras_attn.data.video import Video
from keras_attn.recipes import Clips

LENGTHS = (1, 2, 7, 15, 16, 17, 29, 30, 31, 250)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    "frames, stride, step", [(30, 2, 1), (30, 7, 1), (16, 16, 1), (2, 1, 1), (1, 1, 1), (8, 5, 8)]
)
def test_windows_are_in_range_sorted_and_reach_both_ends(frames, stride, step, length):
    windows = Windows(frames, stride, step)
    starts = windows.starts(length)
    assert starts.numpy().tolist() == window_starts(length, frames, stride, step).tolist()
    positions = windows.positions(starts, length).numpy()
    expected = [window_indices(start, length, frames, step) for start in starts.numpy()]
    np.testing.assert_array_equal(positions, expected)
    assert positions.min() == 0
    assert positions.max() == length - 1 or step > length
    if step == 1:
        assert set(positions.ravel()) == set(range(length))
    moves = np.diff(positions, axis=1)
    assert np.all((moves == step) | (positions[:, 1:] == length - 1))


def test_windows_by_hand():
    assert Windows(4, 3).starts(10).numpy().tolist() == [0, 3, 6]
    assert Windows(4, 3).starts(11).numpy().tolist() == [0, 3, 6, 7]
    assert Windows(4, 3).starts(3).numpy().tolist() == [0]
    short = Windows(6, 3)
    assert short.positions(short.starts(3), 3).numpy().tolist() == [[0, 1, 2, 2, 2, 2]]
    dense = Windows(3, 2, step=4)
    assert dense.positions(dense.starts(12), 12).numpy().tolist() == [
        [0, 4, 8],
        [2, 6, 10],
        [3, 7, 11],
    ]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("frames, stride, step", [(30, 30, 1), (16, 16, 1), (8, 5, 8)])
def test_a_tail_is_dropped_unless_it_is_the_whole_video(frames, stride, step, length):
    windows = Windows(frames, stride, step, drop_tail=True)
    starts = windows.starts(length).numpy()
    assert starts.tolist() == window_starts(length, frames, stride, step, drop_tail=True).tolist()
    assert np.all(np.diff(starts) == stride) and starts[0] == 0
    ends = windows.positions(starts, length).numpy()[:, -1]
    spanned = (frames - 1) * step + 1
    assert ends[-1] == starts[-1] + spanned - 1 or (
        length < spanned and ends.tolist() == [length - 1]
    )
    assert length - 1 - ends[-1] < stride


@pytest.mark.parametrize("length", [1, 5, 15, 16, 17, 33, 250])
@pytest.mark.parametrize("clips", [1, 2, 10])
def test_dense_clips_are_evenly_spaced_and_begin_anew_behind_the_end(clips, length):
    """Integers of TSM; in training one start of all that leave room for a whole window."""
    dense = Dense(4, 4, clips)
    starts = dense.starts(length)
    np.testing.assert_array_equal(starts, dense_starts(length, 4, 4, clips))
    expected = [[(start + 4 * k) % length for k in range(4)] for start in starts.numpy()]
    np.testing.assert_array_equal(dense.positions(starts, length), expected)
    drawn = [dense.positions(starts[:1], length, [0, i]).numpy()[0] for i in range(100)]
    first = {int(one[0]) for one in drawn}
    assert first <= set(range(max(length - 16, 0) + 1))
    assert length < 17 or length > 33 or len(first) == length - 15
    assert all(np.all(one == (one[0] + np.arange(4) * 4) % length) for one in drawn)


def test_features_hold_what_a_training_on_dense_clips_reads():
    videos = [Video(str(n), "", length, 0) for n, length in enumerate((9, 40, 25))]
    clips = Clips(sampling="dense", frames=3, step=4, test_clips=2)
    read = data_positions.drawn_positions(videos, clips, seed=3, epochs=4)
    numbers = frame_numbers(sampler(clips, training=True), random=True)
    for epoch in range(4):
        for video, seed in zip(videos, example_seeds(3, 3, epoch), strict=True):
            example = {"seed": seed, "start": np.int32(0), "length": video.length}
            assert set(numbers(example).numpy().ravel()) <= set(read[video.id])
    assert len(read["1"]) > 3
    fixed = data_positions.fixed_positions(videos, clips, training=False)
    assert fixed["1"].tolist() == [0, 4, 8, 28, 32, 36]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("frames, snippet", [(1, 1), (3, 2), (9, 2), (25, 1), (25, 5)])
def test_segments_are_sorted_and_inside_their_parts(frames, snippet, length):
    segments = Segments(frames, snippet)
    starts = segments.starts(length)
    middle = segments.positions(starts, length).numpy()
    np.testing.assert_array_equal(middle, [segment_indices(length, frames, snippet)])
    places = max(length - snippet + 1, 1)
    part = np.arange(frames) * places / frames
    for seed in ([0, 1], [5, 7]):
        random = segments.positions(starts, length, seed).numpy()[0]
        assert np.all(random >= np.floor(part)) and np.all(random < part + places / frames)
        assert random[-1] < places
        np.testing.assert_array_equal(random, segments.positions(starts, length, seed).numpy()[0])


def test_the_middle_of_a_segment_is_exact():
    """10 parts of 180 frames: dividing first gave 62 where the middle is 63."""
    for frames, length in ((5, 90), (10, 180), (25, 350)):
        segments = Segments(frames)
        middle = segments.positions(segments.starts(length), length).numpy()
        np.testing.assert_array_equal(middle, [segment_indices(length, frames)])


def test_random_snippets_reach_every_place_of_their_segment():
    segments = Segments(3, 2)
    draws = [segments.positions(segments.starts(13), 13, [0, i]).numpy()[0] for i in range(200)]
    found = [set(column) for column in np.array(draws).T]
    assert found == [{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}]


def test_snippets_repeat_the_last_frame_past_the_end():
    found = snippets(np.array([[0, 3], [5, 6]], "int32"), 7, 3).numpy()
    assert found.tolist() == [[[0, 1, 2], [3, 4, 5]], [[5, 6, 6], [6, 6, 6]]]


def test_the_clips_of_a_recipe_say_which():
    assert sampler(Clips(frames=8, stride=3, step=2), training=True) == Windows(8, 3, 2)
    assert sampler(Clips(tail="drop"), training=False) == Windows(30, 2, drop_tail=True)
    dense = Clips(sampling="dense", frames=8, step=8, test_clips=3)
    assert sampler(dense, training=True) == Dense(8, 8, 1)
    assert sampler(dense, training=False) == Dense(8, 8, 3)
    clips = Clips(sampling="segments", frames=9, test_frames=25, snippet=2)
    assert sampler(clips, training=True) == Segments(9, 2)
    assert sampler(clips, training=False) == Segments(25, 2)
    assert sampler(Clips(sampling="segments", frames=9), training=False) == Segments(9)


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
