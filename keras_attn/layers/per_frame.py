"""Apply an image layer to every frame of a video."""

import keras
from keras import ops, tree


@keras.saving.register_keras_serializable("keras_attn")
class PerFrame(keras.layers.Wrapper):
    """Fold time into the batch, call `layer` once, unfold.

    Shapes: `(B, T, ...) -> (B, T, ...)`, for each output of a layer with several. Unlike
    `keras.layers.TimeDistributed` the graph holds one copy of `layer` whatever `T` is, and `T` may
    be unknown. Integer pixels reach `layer` as they are: layers cast floating-point inputs only.

    Args:
        layer: Layer or model that takes a batch of frames.
    """

    def build(self, video_shape):
        if not self.layer.built:
            self.layer.build((None, *video_shape[2:]))

    def call(self, video):
        _, time, *frame = ops.shape(video)
        return _unfold(self.layer(ops.reshape(video, (-1, *frame))), time)

    def compute_output_shape(self, video_shape):
        frame_shape = self.layer.compute_output_shape((None, *video_shape[2:]))
        return tree.map_shape_structure(lambda shape: (*video_shape[:2], *shape[1:]), frame_shape)


def _unfold(outputs, time):
    return tree.map_structure(lambda x: ops.reshape(x, (-1, time, *ops.shape(x)[1:])), outputs)
