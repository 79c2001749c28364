"""Image networks that turn frames into feature maps: the literal table of them all."""

import hashlib

import keras
import numpy as np

from keras_attn.backbones import imagenet, tiny
from keras_attn.backbones.spec import Backbone
from keras_attn.layers import PerFrame

__all__ = ["BACKBONES", "Backbone", "build_backbone", "features_input", "weights_hash"]

BACKBONES = {
    backbone.name: backbone
    for backbone in (imagenet.INCEPTION_V3, imagenet.MOBILENET_V2, tiny.TINY)
}


def build_backbone(name, size=None, weights=None):
    """A `keras.Model` from frames to feature maps, with the preprocessing inside.

    Shapes: `(b, H, W, 3) -> (b, h, w, C)`; pixels 0..255, RGB, float or uint8.
    `size` is one number of pixels or (H, W); None means the backbone's own. `weights` is
    "imagenet" (downloaded by Keras), the path of an HDF5 weights file, or None (random).

    Raises `ValueError` for an unknown name and `UserError` for weights that cannot be loaded.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {name!r}")
    backbone = BACKBONES[name]
    size = backbone.size if size is None else size
    height, width = (size, size) if isinstance(size, int) else size
    return backbone.build(height, width, weights)


def weights_hash(model):
    """SHA-256, in hex, of all weight values of a model in their order, as float32."""
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def features_input(backbone, input_shape, backbone_weights=None):
    """A model's inputs and its features `(B, T, h, w, C)`, from a cache or from frames.

    Without a backbone the input is `features` of `input_shape` (T, h, w, C); with the name of one
    it is `video` of `input_shape` (T, H, W, 3), pixels 0..255, and the backbone runs on each frame
    under the layer name "backbone". Returns `({name: input}, features)`.
    """
    if backbone is None:
        features = keras.Input(input_shape, name="features")
        return {"features": features}, features
    video = keras.Input(input_shape, name="video")
    image_model = build_backbone(backbone, tuple(input_shape[1:3]), backbone_weights)
    return {"video": video}, PerFrame(image_model, name="backbone")(video)
