"""Weights of backbones: from files, from downloads, and for another number of channels."""

import collections
import contextlib
import functools
import hashlib
import os
from pathlib import Path

import numpy as np

from keras_attn.backbones import golden, hub
from keras_attn.backbones.convert import TORCH_FILES, load_torch_state
from keras_attn.backbones.run_weights import load_run, weights_file
from keras_attn.errors import UserError
from keras_attn.utils.plain import slug


def weights_hash(model):
    """Return the SHA-256, in hex, of all weight values of a model in their order, as float32.

    Args:
        model: A Keras model or layer.
    """
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def flow_weights(rgb_kernel, channels):
    """Return the kernel of a first convolution for stacked flow, from that for RGB.

    Shapes: `(k, k, 3, filters) -> (k, k, channels, filters)`: the mean over the inputs, repeated
    and not rescaled, as in temporal segment networks (Wang et al., TSN, ECCV 2016).

    Args:
        rgb_kernel: The kernel for RGB, as a NumPy array.
        channels: Number of channels of the flow.
    """
    return np.repeat(np.mean(rgb_kernel, axis=2, keepdims=True), channels, axis=2)


def load(network, backbone, weights):
    """Fill a network as `fill` does, and hold it against the activations that are kept."""
    fill(network, backbone, weights)
    verify(network, backbone, weights)


def verify(network, backbone, weights):
    """`UserError` unless a filled network has the golden activations kept beside its `weights`.

    Of weights that Keras downloaded they are kept beside its cache from the first time on. The
    folder of a preset may be written again, so that nothing is kept of it.
    """
    build = functools.partial(backbone.network, *network.input_shape[-3:])
    path = weights_file(weights)
    if weights in ("imagenet", "preset"):
        if backbone.fill and Path(backbone.name.removeprefix(hub.PREFIX)).is_dir():
            return
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
        path = cache / f"keras_attn-{slug(backbone.name)}"
        if not golden.golden_path(path).exists():
            with contextlib.suppress(UserError, OSError):  # a folder that is not ours to write
                exact = golden.precise(network, build)
                golden.record(path, {backbone.name: (exact, backbone)})
            return
    if path:
        golden.check(path, backbone.name, build, network, backbone)


def fill(network, backbone, weights):
    """Fill a network of the entry `backbone` with "imagenet", a file or a run of that path.

    For a preset of KerasHub "preset" is the same as "imagenet". Raises `UserError`, which says what
    to give instead, and `ValueError` for a model of the user's, which has its weights.
    """
    if not backbone.pixels:
        raise ValueError(
            f"backbone_weights must be None for the model {backbone.name!r}, which has its own, "
            f"got {str(weights)!r}"
        )
    if backbone.fill and weights in ("imagenet", "preset"):
        backbone.fill(network)
    elif Path(weights).is_dir():
        load_run(network, backbone, weights)
    elif weights != "imagenet":
        load_weights_file(network, weights, backbone.name, backbone.weights_file)
    elif backbone.download:
        _copy(_downloaded(backbone), network, backbone)
    else:
        raise UserError(
            f"Weights of the backbone {backbone.name!r}: there are no ImageNet weights to "
            f"download. Give the path of {backbone.weights_file} Or give no weights."
        )


def load_if_it_fits(network, backbone, weights) -> bool:
    """Load a file or a run, unless it has not all weights of these shapes."""
    found = _filled_if_it_fits(network, backbone, weights)
    if found:
        verify(network, backbone, weights)
    return found


def _filled_if_it_fits(network, backbone, weights):
    if Path(weights).is_dir():
        return load_run(network, backbone, weights)
    if Path(weights).suffix in TORCH_FILES:
        try:
            fill(network, backbone, weights)
        except UserError:
            return False
        return True
    # Not by an attempt: where loading fails Keras leaves the file open.
    wanted = collections.Counter(tuple(weight.shape) for weight in network.weights)
    if wanted - _shapes(weights):
        return False
    fill(network, backbone, weights)
    return True


def _shapes(path):
    """How many arrays of each shape an HDF5 file holds; none where it cannot be read."""
    import h5py

    found = collections.Counter()

    def count(_, item):
        if isinstance(item, h5py.Dataset):
            found[item.shape] += 1

    with contextlib.suppress(OSError, RuntimeError, KeyError), h5py.File(path) as file:
        file.visititems(count)
    return found


def _downloaded(backbone):
    try:
        return backbone.download()
    except Exception as error:
        # Keras reports a failed download as a bare Exception.
        raise UserError(
            f"Weights of the backbone {backbone.name!r}: the ImageNet weights could not be "
            f"downloaded ({error}). Without a connection, fetch the file elsewhere and give its "
            f"path instead of 'imagenet': {backbone.weights_file}"
        ) from error


def _copy(published, network, backbone):
    try:
        network.set_weights(published.get_weights())
    except ValueError as error:
        raise UserError(
            f"Weights of the backbone {backbone.name!r}: those of ImageNet are for frames of "
            f"{backbone.size} pixels ({_first_line(error)})"
        ) from error


def load_weights_file(model, path, name, expected):
    """Fill `model`, a part of the backbone `name`, from an HDF5 file or one of PyTorch's names.

    Raises `UserError`, which repeats what is `expected`, for a missing file or another network's.
    """
    if Path(path).suffix in TORCH_FILES:
        load_torch_state(model, path)
        return
    if not Path(path).is_file():
        raise UserError(
            f"Weights of the backbone {name!r}: there is no file {str(path)!r}. "
            f"Expected: {expected}"
        )
    try:
        model.load_weights(str(path))
    except Exception as error:
        # Keras and h5py raise whatever the first odd byte leads to.
        raise UserError(
            f"Weights of the backbone {name!r}: the file {str(path)!r} could not be loaded "
            f"({_first_line(error)}). Expected: {expected}"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
