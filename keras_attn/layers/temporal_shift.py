"""Let neighboring frames exchange channels, without weights (Lin et al. 2019)."""

import keras
from keras import ops

from keras_attn.layers.base import SavableLayer
from keras_attn.utils.masks import cleared, frame_mask

SHARE = 8  # one channel in eight moves each way, as in the authors' code


@keras.saving.register_keras_serializable("keras_attn")
class TemporalShift(SavableLayer):
    """Take one eighth of the channels from the next frame and another from the previous one.

    Shapes: `(B, T, h, w, C) -> (B, T, h, w, C)`; `T` may be unknown. With F = C // 8, frame t gets
    the channels [0, F) of frame t + 1 and [F, 2F) of frame t - 1, zeros where there is no such
    frame, and keeps the rest. Nothing is learned and nothing multiplied. Padded frames (`mask (B,
    T)` False) are passed over: the next frame is the next one that is no padding.

    Ji Lin, Chuang Gan, Song Han: TSM: Temporal Shift Module for Efficient Video Understanding.
    ICCV 2019.
    """

    def call(self, features, mask=None):
        folds = features.shape[-1] // SHARE
        if mask is not None:
            return self._masked(features, frame_mask(mask), folds)
        # Joined, not assigned in place: slices that are written to do not export.
        from_next = ops.pad(features[:, 1:, :, :, :folds], _along_time(0, 1))
        from_last = ops.pad(features[:, :-1, :, :, folds : 2 * folds], _along_time(1, 0))
        return ops.concatenate([from_next, from_last, features[..., 2 * folds :]], axis=-1)

    def _masked(self, features, mask, folds):
        features = cleared(features, mask)
        count = ops.shape(mask)[1]
        frame = ops.arange(count, dtype="int32")
        later = mask[:, None] & (frame[None, :] > frame[:, None])
        earlier = mask[:, None] & (frame[None, :] < frame[:, None])
        following = ops.min(ops.where(later, frame, count), axis=-1)  # `count`: there is none
        last = ops.max(ops.where(earlier, frame, -1), axis=-1)
        return ops.concatenate(
            [
                _taken(features[..., :folds], following, following < count),
                _taken(features[..., folds : 2 * folds], last, last >= 0),
                features[..., 2 * folds :],
            ],
            axis=-1,
        )

    def compute_mask(self, features, mask):
        return frame_mask(mask)

    def compute_output_shape(self, features_shape):
        return features_shape


def _taken(features, frames, there):
    """`features` at `frames (B, T)`, zeros where there is no such frame."""
    frames = ops.where(there, frames, 0)[:, :, None, None, None]
    return cleared(ops.take_along_axis(features, frames, axis=1), there)


def _along_time(before, after):
    return ((0, 0), (before, after), (0, 0), (0, 0), (0, 0))
