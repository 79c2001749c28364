"""Turn PyTorch weights (.pth) into .safetensors, which holds numbers and nothing that could run.

    python scripts/convert_weights.py resnet50.pth resnet50.safetensors

Needs torch and safetensors; `keras_attn.backbones.convert.load_torch_state` needs safetensors only.
"""

import argparse
import sys
from pathlib import Path

from keras_attn.errors import UserError, require
from keras_attn.utils.files import staging


def convert(source, target):
    """Write the tensors of a state dict, or of the checkpoint around one, as float32."""
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
    with staging(target) as beside:
        safetensors.save_file(arrays, beside)
    return len(arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the .pth file")
    parser.add_argument("target", help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        print(f"{options.target}: {convert(options.source, options.target)} tensors")
    except UserError as error:
        sys.exit(f"error: {error}")
