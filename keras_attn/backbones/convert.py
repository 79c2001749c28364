"""Public PyTorch weights into our networks, by name, with every name and shape checked."""

import re
import zipfile
from pathlib import Path

import numpy as np

from keras_attn.errors import UserError, require

TORCH_FILES = (".safetensors", ".npz")
_KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Prefixes of training wrappers, and the part that TSM's shift adds around conv1.
_WRAPPERS = re.compile(r"^(?:module\.|base_model\.)+|(?<=\.conv1)\.net(?=\.)")
# A classifier, counters of batches, and all of FlowNetS but its contracting part.
_UNUSED = re.compile(
    r"(fc|new_fc|last_linear)\.(weight|bias)|.+\.num_batches_tracked"
    r"|(deconv|predict_flow|upsampled_flow)\d\w*\.(0\.)?weight"
)
_LISTED = 10  # names of each kind in an error


def load_torch_state(model, path):
    """Fill `model` from a PyTorch state dict in a .safetensors or .npz file.

    The names are those of Cadene's `bninception` (also as tsn-pytorch prefixes them),
    FlowNetPytorch's `flownets` and torchvision's `resnet50` (also with TSM's `conv1.net`). Kernels
    are transposed, and biases before a batch normalization go into its moving mean.
    `scripts/convert_weights.py` turns a .pth file into .safetensors.

    Args:
        model: A network of this package, whose layers have PyTorch's names.
        path: The file.

    Returns:
        The names in the file that the model has no place for: a classifier, counters of batches,
            the expanding part of FlowNetS.

    Raises:
        UserError: Before any weight is changed, for a file that cannot be read, names that are
            missing or not expected, other shapes, and values that are not finite.
    """
    if any("conv2_block1_1_conv" in weight.path for weight in model.weights):
        raise UserError(
            f"{path}: Keras' own ResNets cannot take PyTorch weights. The shapes agree, but Keras "
            "gives the stride of a block to its first 1x1 convolution and torchvision to its 3x3. "
            "Use the backbone 'resnet_50_torch' or 'tsm_resnet_50'."
        )
    state = _without_biases(_unwrapped(_read(path), path))
    values, problems = _matched(model, state)
    ignored = [name for name in state if _UNUSED.fullmatch(name)]
    problems["not expected"] = [name for name in state if name not in ignored]
    if any(problems.values()):
        lists = [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]
        raise UserError(f"{path}: not the weights of this network; {'; '.join(lists)}")
    model.set_weights(values)
    return ignored


def _matched(model, state):
    """The values for the weights of the model, taken out of `state`, and the problems by kind."""
    values, problems = [], {"missing": [], "of another shape": [], "not finite": []}
    for weight in model.weights:
        layer, kind = weight.path.split("/")[-2:]
        suffix = _KINDS.get(kind, kind)
        # The second is the name in a Sequential with the activation.
        found = [name for name in (f"{layer}.{suffix}", f"{layer}.0.{suffix}") if name in state]
        if not found:
            problems["missing"].append(f"{layer}.{suffix}")
            continue
        value = _in_keras_order(state.pop(found[0]))
        if value.shape != tuple(weight.shape):
            problems["of another shape"].append(
                f"{found[0]} (expected {tuple(weight.shape)} in Keras' order, got {value.shape})"
            )
        elif not np.isfinite(value).all():
            problems["not finite"].append(found[0])
        values.append(value)
    return values, problems


def _in_keras_order(value):
    """(out, in, h, w), or (in, out, h, w) of a transposed convolution, to Keras' (h, w, ...)."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _without_biases(state):
    """Biases of a convolution `X` before a normalization `X_bn` go into its moving mean."""
    folded = dict(state)
    for name, mean in state.items():
        bias_name = name.replace("_bn.running_mean", ".bias")
        if bias_name != name and np.shape(state.get(bias_name)) == mean.shape:
            folded[name] = mean - folded.pop(bias_name)
    return folded


def _unwrapped(state, path):
    names = {_WRAPPERS.sub("", name): name for name in state}
    if len(names) < len(state):
        double = sorted(set(state) - set(names.values()))
        raise UserError(f"{path}: holds two networks; also there: {_some(double)}")
    return {name: state[original] for name, original in names.items()}


def _read(path):
    path = Path(path)
    if path.suffix not in TORCH_FILES:
        raise UserError(
            f"{path}: PyTorch's names are read from {' or '.join(TORCH_FILES)}. To convert .pth: "
            f"python scripts/convert_weights.py {path} {path.with_suffix('.safetensors')}"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name].astype("float32") for name in arrays}
    except (OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as arrays ({error})") from error


def _read_safetensors(path):
    safetensors = require("safetensors.numpy", "Reading .safetensors")
    try:
        return {name: x.astype("float32") for name, x in safetensors.load_file(path).items()}
    except Exception as error:
        # The library raises an error of its own for damage, and a TypeError for bfloat16.
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def _some(names):
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
