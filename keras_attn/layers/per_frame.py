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
        if self.layer.built:
            return
        frames_shape = (None, *video_shape[2:])
        if _inherits(self.layer, "build"):  # Keras builds such a layer when it is called
            self._outputs(frames_shape)
        else:
            self.layer.build(frames_shape)

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
        frame_shape = (None, *video_shape[2:])
        if _inherits(self.layer, "compute_output_shape"):
            outputs = self._outputs(frame_shape)
            return tree.map_structure(lambda x: (*video_shape[:2], *x.shape[1:]), outputs)
        frame_shape = self.layer.compute_output_shape(frame_shape)
        return tree.map_shape_structure(lambda shape: (*video_shape[:2], *shape[1:]), frame_shape)

    def get_config(self):
        config = super().get_config()
        if _inherits(self.layer, "build"):
            config["layer"].pop("build_config", None)  # by which Keras would mark it as built
        return config

    def _outputs(self, frames_shape):
        return self.layer(keras.KerasTensor(frames_shape, dtype=self.layer.compute_dtype))


def _inherits(layer, method):
    """Whether a layer leaves a method to Keras, which cannot know what it is to do."""
    return getattr(type(layer), method) in (
        getattr(keras.layers.Layer, method),
        getattr(keras.Model, method),
    )


def unfolded(outputs, time, mask=None):
    """Give each of `outputs (B * T, ...)` its axis of time, with zeros where `mask` is False."""
    return tree.map_structure(
        lambda x: cleared(ops.reshape(x, (-1, time, *ops.shape(x)[1:])), mask), outputs
    )
