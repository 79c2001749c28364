"""Batches are what plain NumPy says, in an order that threads and restarts do not change."""

import collections
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from windows import segment_indices, window_indices, window_starts

from keras_attn.data import batches, record_format, sampling, transforms
from keras_attn.data.sampling import Segments, Windows
from keras_attn.data.streams import Stream
from keras_attn.data.video import Video

FRAMES, STRIDE, SIZE, BATCH = 5, 3, 8, 4
LENGTHS = (1, 4, 5, 6, 13, 14)
WINDOWS = Windows(FRAMES, STRIDE)
NUMBERS = batches.frame_numbers(WINDOWS)


def jpegs(random, count, height, width):
    frames = random.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return [tf.io.encode_jpeg(frame, quality=95).numpy() for frame in frames]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Records of different lengths and sizes of picture, and their frames stretched by hand."""
    folder, random = tmp_path_factory.mktemp("records"), np.random.default_rng(2)
    some, frames = [], {}
    for label, length in enumerate(LENGTHS):
        encoded = jpegs(random, length, 10 + label, 17 - label)
        path = folder / f"ä {label}.record"
        path.write_bytes(b"".join(record_format.record_bytes(encoded, record_format.FRAMES, {})))
        decoded = np.stack([tf.io.decode_jpeg(x).numpy() for x in encoded])
        frames[label] = tf.image.resize(decoded, (SIZE, SIZE), antialias=True).numpy()
        some.append(Video(f"v{label}", str(path), length, label))
    return some, frames


@pytest.fixture
def index(videos):
    return batches.clip_index(videos[0], WINDOWS)


def clips_of(frames):
    """(label, clip) of every window, in the order of the index."""
    for label, length in enumerate(LENGTHS):
        for start in window_starts(length, FRAMES, STRIDE):
            yield label, frames[label][window_indices(start, length, FRAMES)]


def epoch(index, read=None, **options):
    read = read or batches.read_record(NUMBERS, SIZE)
    return [
        (inputs["video"].numpy(), labels.numpy())
        for inputs, labels in batches.batches(index, read, BATCH, **options)
    ]


def flat(batches):
    return [(int(y), x) for xs, ys in batches for x, y in zip(xs, ys, strict=True)]


def assert_same(some, others):
    for (x, y), (x_2, y_2) in zip(some, others, strict=True):
        np.testing.assert_array_equal(x, x_2)
        np.testing.assert_array_equal(y, y_2)


def test_index_lists_every_window(index):
    counts = [len(window_starts(n, FRAMES, STRIDE)) for n in LENGTHS]
    assert len(index) == sum(counts)
    assert collections.Counter(index.numbers.tolist()) == dict(enumerate(counts))
    assert index.paths.tolist() == [index.videos[number].path for number in index.numbers]


def test_without_a_seed_batches_are_the_reference(videos, index):
    batches = epoch(index)
    assert [len(y) for _, y in batches] == [BATCH] * (len(index) // BATCH) + [len(index) % BATCH]
    for (label, clip), (expected, reference) in zip(
        flat(batches), clips_of(videos[1]), strict=True
    ):
        assert label == expected
        assert clip.dtype == np.float32
        np.testing.assert_allclose(clip, reference, atol=1e-3)


def test_with_a_seed_batches_are_the_reference_in_the_epochs_order(videos, index):
    reference = list(clips_of(videos[1]))
    order = sampling.epoch_order(len(index), 3, 2)
    assert sorted(order) == list(range(len(reference)))  # none lost, none twice
    for (label, clip), row in zip(flat(epoch(index, seed=3, epoch=2)), order, strict=True):
        assert label == reference[row][0]
        np.testing.assert_allclose(clip, reference[row][1], atol=1e-3)


AUGMENT = (transforms.random_crop, transforms.random_flip)


def test_an_epoch_is_a_function_of_seed_and_epoch(index):
    read = batches.read_record(NUMBERS, SIZE, AUGMENT)
    first = epoch(index, read, seed=3, epoch=0)
    assert_same(first, epoch(index, read, seed=3, epoch=0))
    for options in ({"seed": 3, "epoch": 1}, {"seed": 4, "epoch": 0}):
        other = epoch(index, read, **options)
        assert any(not np.array_equal(x, y) for (x, _), (y, _) in zip(first, other, strict=True))


def test_augmentation_belongs_to_the_example_not_to_the_place(index):
    """The same example in another order gets the same crop: its seed travels with it."""
    read = batches.read_record(NUMBERS, SIZE, AUGMENT)
    order = sampling.epoch_order(len(index), 3, 0)
    seeds = sampling.example_seeds(len(index), 3, 0)
    for place, (_, clip) in enumerate(flat(epoch(index, read, seed=3, epoch=0))):
        row = order[place]
        example = {
            "path": index.paths[row],
            "start": tf.constant(index.starts[row]),
            "length": tf.constant(index.videos[index.numbers[row]].length),
            "label": tf.constant(0),
            "seed": tf.constant(seeds[row]),
        }
        np.testing.assert_allclose(clip, read(example)["video"], atol=1e-3)


@pytest.mark.parametrize("skip", [0, 1, 3, 4])
def test_skipping_gives_the_tail_of_the_epoch(index, skip):
    read = batches.read_record(NUMBERS, SIZE, AUGMENT)
    whole = epoch(index, read, seed=8, epoch=1)
    assert len(whole) == 4
    assert_same(epoch(index, read, seed=8, epoch=1, skip=skip), whole[skip:])


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_change_nothing(index, threads):
    read = batches.read_record(NUMBERS, SIZE, AUGMENT)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.autotune.enabled = threads > 1
    dataset = batches.batches(index, read, BATCH, seed=3).with_options(options)
    result = [(inputs["video"].numpy(), labels.numpy()) for inputs, labels in dataset]
    assert_same(result, epoch(index, read, seed=3))


@pytest.mark.parametrize("damage", ["garbage", "cut", "no frames", "missing"])
def test_a_damaged_record_names_itself(videos, tmp_path, damage):
    path, content = tmp_path / "broken.record", Path(videos[0][3].path).read_bytes()
    contents = {"garbage": b"\x0a\xff\xff no record", "cut": content[:-20], "no frames": b""}
    if damage in contents:
        path.write_bytes(contents[damage])
    broken = Video("broken", str(path), 6, 0)
    index = batches.clip_index([*videos[0], broken], WINDOWS)
    with pytest.raises(tf.errors.OpError, match=r"broken\.record"):
        epoch(index)


def test_a_million_clips_take_little_memory():
    """Paths once a video: as an entry of each clip they took gigabytes."""
    videos = [Video(f"v{n}", f"/{'x' * 90}/{n}.record", 1000, 0) for n in range(1000)]
    windows = Windows(16, 1)
    read = batches.read_record(batches.frame_numbers(windows), SIZE)
    tracemalloc.start()
    try:
        index = batches.clip_index(videos, windows)
        batches.batches(index, read, 64, seed=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(index) == 985_000
    assert peak < 100e6


@pytest.mark.parametrize("random", [False, True])
def test_snippets_lie_side_by_side_in_the_channels(videos, random):
    segments, snippet = Segments(3, snippet=2), 2
    index = batches.clip_index(videos[0], segments)
    assert len(index) == len(LENGTHS)
    numbers = batches.frame_numbers(segments, snippet, random)
    read = batches.read_record(numbers, SIZE, stream=Stream(snippet=snippet))
    changed = 0
    for label, clip in flat(epoch(index, read, seed=5)):
        frames = videos[1][label]
        assert clip.shape == (3, SIZE, SIZE, 6)
        middle = segment_indices(len(frames), 3, snippet)
        pairs = [frames[window_indices(start, len(frames), 2)] for start in middle]
        expected = np.stack([np.concatenate(pair, axis=-1) for pair in pairs])
        changed += not np.allclose(clip, expected, atol=1e-3)
        second = [np.abs(frames - image[..., 3:]).max((1, 2, 3)).argmin() for image in clip]
        first = [np.abs(frames - image[..., :3]).max((1, 2, 3)).argmin() for image in clip]
        assert [min(i + 1, len(frames) - 1) for i in first] == second
    assert (changed > 0) == random
