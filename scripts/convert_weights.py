"""Turn PyTorch weights (.pth) into .safetensors, which holds numbers and nothing that could run.

    python scripts/convert_weights.py resnet50.pth resnet50.safetensors
    python scripts/convert_weights.py flownets_from_caffe.pth flownets.safetensors --bgr

Networks that came from Caffe expect BGR, and FlowNetS here gets RGB; BN-Inception here gets BGR.
Beside the file go the golden activations of the networks that it fits, against which these are held
whenever it is loaded. Needs torch and safetensors; `keras_attn.backbones.convert.load_torch_state`
needs safetensors only.
"""

import argparse
import contextlib
import functools
import sys
from pathlib import Path

import numpy as np

from keras_attn.backbones import BACKBONES, flownet_s, golden
from keras_attn.backbones.convert import load_torch_state
from keras_attn.errors import UserError, require
from keras_attn.models.segment_network import FLOW_NETWORKS
from keras_attn.utils.files import staging

_BACKBONES = ("bn_inception", "resnet_50_torch", "tsm_resnet_50")
_SIDE = 64  # pixels; the networks take any size


def convert(source, target, bgr=False):
    """Write the tensors of a state dict, or of the checkpoint around one, as float32.

    With `bgr` the input channels of the first kernel are reversed within each frame.
    """
    torch = require("torch", "Reading .pth")
    safetensors = require("safetensors.numpy", "Writing .safetensors")
    if Path(target).suffix != ".safetensors":
        raise UserError(f"{target}: the file to write must end in .safetensors")
    if not Path(source).is_file():
        raise UserError(f"{source}: no such file")
    try:
        checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch raises whatever the first odd byte leads to, and advises to trust the file.
        raise UserError(
            f"{source}: not a file of tensors only ({type(error).__name__}). Anything more is "
            "refused, because loading it can run code that it brings."
        ) from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    if not state or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f"{source}: holds no state dict, which is tensors by name")
    arrays = {name: tensor.float().numpy() for name, tensor in state.items()}
    if bgr:
        name = next(name for name, array in arrays.items() if array.ndim == 4)
        arrays[name] = _reversed_colors(name, arrays[name])
    with staging(target) as beside:
        safetensors.save_file(arrays, beside)
    return len(arrays)


def keep_activations(path):
    """Write `keras_attn.backbones.golden` for each network that takes the file; their names."""
    frames = (_SIDE, _SIDE)
    builds = {name: functools.partial(BACKBONES[name].network, *frames, 3) for name in _BACKBONES}
    builds |= {
        name: functools.partial(flownet_s.contracting, *frames, **options)
        for name, options in FLOW_NETWORKS.items()
    }
    networks = {}
    for name, build in builds.items():
        network = build()
        with contextlib.suppress(UserError):
            load_torch_state(network, path)
            networks[name] = network, BACKBONES.get(name)
    if networks:
        golden.record(path, networks)
    return list(networks)


def _reversed_colors(name, kernel):
    filters, channels, *side = kernel.shape
    if channels % 3:
        raise UserError(f"{name}: has {channels} input channels, which are no frames in BGR")
    frames = kernel.reshape(filters, channels // 3, 3, *side)
    return np.ascontiguousarray(frames[:, :, ::-1]).reshape(kernel.shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the .pth file")
    parser.add_argument("target", help="the .safetensors file to write")
    parser.add_argument("--bgr", action="store_true", help="the network was trained on BGR frames")
    options = parser.parse_args()
    try:
        count = convert(**vars(options))
        names = ", ".join(keep_activations(options.target)) or "no network of keras_attn"
        print(f"{options.target}: {count} tensors, the weights of {names}")
    except UserError as error:
        sys.exit(f"error: {error}")
