"""Each transform bare and inside tf.data; one crop and one flip for all frames of a clip."""

import numpy as np
import pytest
import tensorflow as tf

from keras_attn.data.transforms import random_crop, random_flip, resize_stretched

TRANSFORMS = pytest.mark.parametrize("transform", [random_crop, random_flip])


def example(seed, shape=(3, 20, 31, 3)):
    """A clip whose frames are the same picture: its values are its coordinates."""
    rows, columns = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    picture = np.stack([rows, columns, rows + columns], axis=-1).astype("uint8")
    video = np.repeat(picture[None], shape[0], axis=0)
    return {"video": tf.constant(video), "seed": tf.constant([seed, 11]), "label": tf.constant(4)}


def inside_a_pipeline(function, some):
    datasets = tf.data.Dataset.from_tensors(some).map(function, num_parallel_calls=2)
    return next(iter(datasets))


@TRANSFORMS
def test_bare_and_inside_tf_data_agree(transform):
    for seed in range(8):
        bare, piped = transform(example(seed)), inside_a_pipeline(transform, example(seed))
        np.testing.assert_array_equal(bare["video"], piped["video"])
        assert piped["label"] == 4


@TRANSFORMS
def test_all_frames_are_treated_alike_and_the_seed_decides(transform):
    results = set()
    for seed in range(20):
        before = example(seed)
        after = transform(before)
        video = after["video"].numpy()
        assert video.dtype == np.uint8
        for frame in video[1:]:
            np.testing.assert_array_equal(frame, video[0])
        np.testing.assert_array_equal(video, transform(example(seed))["video"])
        results.add((video.shape, video[0].tobytes()))
        np.testing.assert_array_equal(before["video"], example(seed)["video"])
    assert len(results) == 2 if transform is random_flip else len(results) > 10


def test_a_crop_is_one_box_of_at_least_four_fifths():
    shapes, corners = [], []
    for seed in range(120):
        video = random_crop(example(seed))["video"].numpy()
        _, height, width, _ = video.shape
        top, left = video[0, 0, 0, :2]
        expected = example(seed)["video"].numpy()[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(video, expected)
        shapes.append((height, width))
        corners.append((top, left))
    (heights, widths), (tops, lefts) = np.array(shapes).T, np.array(corners).T
    assert set(heights) == {16, 17, 18, 19, 20}
    assert widths.min() == 25 and widths.max() == 31
    # The crops reach all four sides: no row or column is never seen.
    assert tops.min() == lefts.min() == 0
    assert (tops + heights).max() == 20 and (lefts + widths).max() == 31
    assert len(set(corners)) > 15


def test_a_crop_of_a_single_pixel_is_that_pixel():
    video = random_crop(example(3, shape=(2, 1, 1, 3)))["video"]
    assert video.shape == (2, 1, 1, 3)


def test_flip_mirrors_left_to_right():
    mirrored = [
        np.array_equal(random_flip(e)["video"], e["video"][:, :, ::-1])
        for e in map(example, range(200))
    ]
    assert 70 < sum(mirrored) < 130


def test_stretching_of_known_pictures():
    plain = tf.fill((2, 9, 17, 3), tf.constant(200, tf.uint8))
    np.testing.assert_allclose(resize_stretched(plain, 6), np.full((2, 6, 6, 3), 200.0), rtol=1e-6)
    # Left half black, right half white, stretched from 4 x 8 to 4 x 4: columns keep their halves.
    halves = np.zeros((1, 4, 8, 3), "uint8")
    halves[:, :, 4:] = 240
    result = resize_stretched(tf.constant(halves), 4)
    assert result.dtype == tf.float32
    # Halving with antialiasing weighs four neighbors 1, 3, 3, 1 (cut at the edge, sum to one).
    expected = [0, 240 / 8, 240 * 7 / 8, 240]
    np.testing.assert_allclose(
        result[0], np.tile(np.array(expected)[:, None], (4, 1, 3)), atol=1e-3
    )
    np.testing.assert_array_equal(
        resize_stretched(tf.constant(halves)[:, :, :4], 4), halves[:, :, :4]
    )
    inside = inside_a_pipeline(lambda video: resize_stretched(video, 4), tf.constant(halves))
    np.testing.assert_array_equal(inside, result)
