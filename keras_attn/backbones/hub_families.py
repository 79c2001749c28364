"""The vision transformers of KerasHub block by block: what `hub.py` knows of each family."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from keras import layers, ops


class Family(NamedTuple):
    """How the blocks of a backbone are run.

    `run(backbone, frames, cells)` returns a map for each of `blocks(arguments)` blocks, where
    `arguments` are those of the constructor; the last is normalized. `clips` says that it takes
    clips of `num_frames` frames, `resizes` that it takes frames of other sizes than the preset's.
    """

    run: Callable
    blocks: Callable
    clips: bool = False
    resizes: bool = False


def _dinov2(backbone, frames, cells):
    _save_every_variable(backbone.embeddings)
    others = 1 + backbone.num_register_tokens
    tokens = _tokens(backbone.embeddings(frames), backbone.encoder.layers, backbone.layernorm)
    return _maps(tokens, others, cells)


def _save_every_variable(layer):
    """Save and load a layer's variables as they are.

    Trained position embeddings of DINOv2 would be resized to the preset's size and back, and,
    with KerasHub 0.32, be left out of the file where the sum of their changes is not negative.
    """
    for name in ("save_own_variables", "load_own_variables"):
        setattr(layer, name, functools.partial(getattr(layers.Layer, name), layer))


def _vit(backbone, frames, cells):
    encoder = backbone.get_layer("vit_encoder")
    embedded = backbone.get_layer("vit_patching_and_embedding")(frames)
    tokens = _tokens(encoder.dropout(embedded), encoder.encoder_layers, encoder.layer_norm)
    return _maps(tokens, int(backbone.use_class_token), cells)


def _siglip(encoder, frames, cells):
    height, width, channels = cells
    # KerasHub 0.32 announces one token more than it gives.
    embedded = ops.reshape(encoder.embedding(frames), (-1, height * width, channels))
    return _maps(_tokens(embedded, encoder.encoder_layers, encoder.post_layer_norm), 0, cells)


def _video_prism(backbone, clips, cells):
    """The spatial encoder as one block, then those of the temporal one, over a cell's frames."""
    shape = (backbone.num_frames, *cells)
    embedded = backbone.spatial_embedding(backbone.spatial_reshape(clips))
    spatial = backbone.spatial_encoder(embedded)
    encoder = backbone.temporal_encoder
    x = encoder.dropout(backbone.temporal_embedding(spatial))
    tokens = _tokens(x, encoder.encoder_layers, encoder.layer_norm)
    decoded = [layers.Reshape(shape)(backbone.factorized_decoding(x)) for x in tokens]
    return [ops.reshape(spatial, (-1, *shape)), *decoded]


def _tokens(x, blocks, norm):
    """The tokens behind each block, the last ones normalized."""
    found = []
    for block in blocks:
        x = block(x)
        found.append(x)
    return [*found[:-1], norm(x)]


def _maps(tokens, others, cells):
    """The tokens of cells, without the `others` before them: `(b, N, C) -> (b, h, w, C)`."""
    return [layers.Reshape(cells)(x[:, others:] if others else x) for x in tokens]


FAMILIES = {
    "DINOV2Backbone": Family(_dinov2, lambda of: of["num_layers"], resizes=True),
    "ViTBackbone": Family(_vit, lambda of: of["num_layers"]),
    "SigLIPVisionEncoder": Family(_siglip, lambda of: of["num_layers"]),
    "VideoPrismBackbone": Family(
        _video_prism, lambda of: 1 + of["num_temporal_layers"], clips=True
    ),
}
