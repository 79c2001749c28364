"""Fisher vectors: from the descriptors of a video's trajectories to one vector.

Each descriptor goes through a PCA to half its length `d` and a mixture of `K` Gaussians; the Fisher
vector is the mean gradient of the log-likelihood by the means and the variances, `2 K d` numbers,
of which the signed square root is scaled to length one (Perronnin, Sánchez & Mensink, ECCV 2010).
Those of all descriptors are joined, as Wang & Schmid, ICCV 2013, do: 109 056 numbers for K = 256.
"""

import warnings

import numpy as np

from keras_attn.errors import require
from keras_attn.trajectories.video import LENGTHS

_PURPOSE = "encoding trajectories"
_SEED = 0
_ROUNDS = 100  # of expectation maximization, at most; ours


class FisherEncoder:
    """A vocabulary that is learned from a sample of trajectories: `fit`, then `encode`.

    `components` is the number of Gaussians of each descriptor. The same sample gives the same
    encoder.
    """

    def __init__(self, components: int = 256):
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        self.components = components
        self.unconverged: tuple[str, ...] = ()  # descriptors whose mixture was stopped early
        self._steps = {}

    @property
    def length(self) -> int:
        """Numbers in an encoded video."""
        return sum(2 * self.components * (length // 2) for length in LENGTHS.values())

    @property
    def minimum(self) -> int:
        """Minimum number of trajectories that `fit` needs."""
        return max(self.components, max(LENGTHS.values()) // 2)

    def fit(self, sample) -> "FisherEncoder":
        """Learn the vocabulary from `(N, 426)` descriptors, as `Trajectories.joined` gives them.

        Raises `ValueError` for arrays of another form and for fewer trajectories than Gaussians or
        numbers in a reduced descriptor.
        """
        _check(sample)
        if len(sample) < self.minimum:
            raise ValueError(
                f"sample must hold at least {self.minimum} trajectories for {self.components} "
                f"components, got {len(sample)}"
            )
        self._steps = {name: self._learn(part) for name, part in _split(sample).items()}
        found = {name: mixture.converged_ for name, (_, mixture) in self._steps.items()}
        self.unconverged = tuple(name for name, converged in found.items() if not converged)
        return self

    def encode(self, descriptors) -> np.ndarray:
        """`(N, 426)` descriptors of a video -> its vector `(length,)`, float32.

        Each descriptor's part has length one; a video without trajectories has the zero vector.
        """
        _check(descriptors)
        if not self._steps:
            raise ValueError("the encoder has learned nothing yet; call fit first")
        if not len(descriptors):
            return np.zeros(self.length, "float32")
        parts = _split(descriptors).items()
        return np.concatenate([_encode(part, *self._steps[name]) for name, part in parts])

    def _learn(self, part):
        require("sklearn", _PURPOSE)
        from sklearn.decomposition import PCA
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        part = part.astype("float64")
        reduction = PCA(part.shape[1] // 2, random_state=_SEED).fit(part)
        mixture = GaussianMixture(
            self.components, covariance_type="diag", random_state=_SEED, max_iter=_ROUNDS
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by `unconverged`
            mixture.fit(reduction.transform(part))
        return reduction, mixture


def _encode(part, reduction, mixture):
    require("skimage", _PURPOSE)
    from skimage.feature import fisher_vector

    vector = fisher_vector(reduction.transform(part.astype("float64")), mixture)
    vector = vector[mixture.n_components :]  # without the gradient by the weights
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    return (vector / max(np.linalg.norm(vector), 1e-12)).astype("float32")


def _check(descriptors):
    expected = sum(LENGTHS.values())
    if np.ndim(descriptors) != 2 or np.shape(descriptors)[1] != expected:
        raise ValueError(f"descriptors must be (N, {expected}), got {np.shape(descriptors)}")
    if not np.isfinite(descriptors).all():
        raise ValueError("descriptors must be finite, got NaN or infinite values")


def _split(descriptors):
    ends = np.cumsum(list(LENGTHS.values()))[:-1]
    parts = np.split(np.asarray(descriptors), ends, axis=1)
    return dict(zip(LENGTHS, parts, strict=True))
