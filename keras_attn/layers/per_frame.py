"""Apply an image layer to every frame of a video."""

import keras
from keras import ops, tree

from keras_attn.utils.masks import cleared, frame_mask


@keras.saving.register_keras_serializable("keras_attn")
class PerFrame(keras.layers.Wrapper):
    """Fold time into the batch, call `layer` once, unfold.

    Shapes: `(B, T, ...) -> (B, T, ...)`, for each output of a layer with several. Unlike
    `keras.layers.TimeDistributed` the graph holds one copy of `layer` whatever `T` is, and `T` may
    be unknown. Integer pixels reach `layer` as they are: layers cast floating-point inputs only.
    Of padded frames (`mask (B, T)` False) all outputs are zero, and the mask is passed on. A layer
    with the attribute `masks_rows` gets it as `mask (B * T,)`.

    Args:
        layer: Layer or model that takes a batch of frames.
    """

    def build(self, video_shape):
        if not self.layer.built:
            self.layer.build((None, *video_shape[2:]))

    def call(self, video, mask=None):
        mask = frame_mask(mask)
        _, time, *frame = ops.shape(video)
        rows = ops.reshape(cleared(video, mask), (-1, *frame))
        masked = mask is not None and getattr(self.layer, "masks_rows", False)
        more = {"mask": ops.reshape(mask, (-1,))} if masked else {}
        return unfolded(self.layer(rows, **more), time, mask)

    def compute_mask(self, video, mask):
        if mask is None:
            return None
        shapes = self.compute_output_shape(video.shape)
        return tree.map_shape_structure(lambda shape: frame_mask(mask), shapes)

    def compute_output_shape(self, video_shape):
        frame_shape = self.layer.compute_output_shape((None, *video_shape[2:]))
        return tree.map_shape_structure(lambda shape: (*video_shape[:2], *shape[1:]), frame_shape)


def unfolded(outputs, time, mask=None):
    """Give each of `outputs (B * T, ...)` its axis of time, with zeros where `mask` is False."""
    return tree.map_structure(
        lambda x: cleared(ops.reshape(x, (-1, time, *ops.shape(x)[1:])), mask), outputs
    )
