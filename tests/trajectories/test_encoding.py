"""Fisher vectors against loops over descriptors and Gaussians, and their normalization."""

import numpy as np
import pytest
import sklearn.mixture  # noqa: F401  loads the libraries that `one_thread` limits
import threadpoolctl

from keras_attn.trajectories import LENGTHS, FisherEncoder, encoding

COMPONENTS = 3


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On arrays this small, threads of scikit-learn mostly wait for each other."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def sample():
    """Trajectories of four kinds, each with directions of its own."""
    random = np.random.default_rng(4)
    centers = random.normal(size=(4, 426))
    spread = random.uniform(0.1, 0.5, (4, 426))
    kinds = random.integers(0, 4, 300)
    return (centers[kinds] + spread[kinds] * random.normal(size=(300, 426))).astype("float32")


@pytest.fixture(scope="module")
def encoder(sample):
    return FisherEncoder(COMPONENTS).fit(sample)


def by_hand(descriptors, mixture):
    """Mean gradients by the means, then by the variances, one descriptor and Gaussian at a time."""
    weights, means, variances = mixture.weights_, mixture.means_, mixture.covariances_
    by_mean, by_variance = np.zeros((2, *means.shape))
    for x in descriptors:
        densities = [
            w * np.exp(-0.5 * ((x - m) ** 2 / v + np.log(2 * np.pi * v)).sum())
            for w, m, v in zip(weights, means, variances, strict=True)
        ]
        for k, density in enumerate(densities):
            share = density / sum(densities)
            away = (x - means[k]) / np.sqrt(variances[k])
            by_mean[k] += share * away / np.sqrt(weights[k])
            by_variance[k] += share * (away**2 - 1) / np.sqrt(2 * weights[k])
    return by_mean / len(descriptors), by_variance / len(descriptors)


def test_a_fisher_vector_is_the_mean_gradient(encoder, sample):
    vector = encoder.encode(sample[40:75])
    start = place = 0
    for name, length in LENGTHS.items():
        part = sample[40:75, start : start + length].astype("float64")
        start += length
        reduction, mixture = encoder._steps[name]
        reduced = (part - reduction.mean_) @ reduction.components_.T
        assert reduced.shape == (35, length // 2)
        by_mean, by_variance = by_hand(reduced, mixture)
        # The sign of the second half is that of the library; a linear classifier learns either.
        expected = np.concatenate([by_mean.ravel(), -by_variance.ravel()])
        expected = np.sign(expected) * np.sqrt(abs(expected))
        size = 2 * COMPONENTS * (length // 2)
        found = vector[place : place + size]
        place += size
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)
    assert place == len(vector) == encoder.length == 2 * COMPONENTS * 213


def test_256_gaussians_make_the_published_length():
    assert FisherEncoder().length == 109_056


def test_a_video_without_trajectories_has_the_zero_vector(encoder):
    vector = encoder.encode(np.zeros((0, 426), "float16"))
    assert vector.shape == (encoder.length,) and vector.dtype == np.float32 and not vector.any()


def test_the_same_sample_gives_the_same_vectors(encoder, sample):
    np.random.seed(9)  # what came before does not matter
    again = FisherEncoder(COMPONENTS).fit(sample)
    np.testing.assert_array_equal(again.encode(sample[:9]), encoder.encode(sample[:9]))


def test_gaussians_that_did_not_converge_are_told(monkeypatch, encoder, sample):
    assert encoder.unconverged == ()
    monkeypatch.setattr(encoding, "_ROUNDS", 1)
    assert "hog" in FisherEncoder(COMPONENTS).fit(sample).unconverged


def test_mistakes(encoder, sample):
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        FisherEncoder(0)
    with pytest.raises(ValueError, match=r"must be \(N, 426\), got \(300, 400\)"):
        FisherEncoder(2).fit(sample[:, :400])
    with pytest.raises(ValueError, match="at least 70 trajectories for 70 components, got 69"):
        FisherEncoder(70).fit(sample[:69])
    with pytest.raises(ValueError, match="at least 54 trajectories for 2 components, got 53"):
        FisherEncoder(2).fit(sample[:53])
    with pytest.raises(ValueError, match="call fit first"):
        FisherEncoder(2).encode(sample)
    with pytest.raises(ValueError, match="descriptors must be finite"):
        encoder.encode(np.full((3, 426), np.nan))
