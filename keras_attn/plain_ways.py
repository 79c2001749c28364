"""The plain ways of doing what this package does, for `benchmark` to compare with."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from keras_attn.errors import require
from keras_attn.layers.attended_lstm import AttendedLSTMCell
from keras_attn.models import StructuredAttentionLSTM

SHAPE = (30, 8, 8, 256)  # frames, cells, channels: small enough for two cores
UNITS, CLASSES, BATCH = 128, 11, 8


def decode_with_opencv(paths) -> int:
    """Count the frames of all `paths` in one loop."""
    count = 0
    for _ in _opencv_frames(paths):
        count += 1
    return count


def _opencv_frames(paths):
    cv2 = require("cv2", "the benchmark's plain way")
    for path in paths:
        capture = cv2.VideoCapture(str(path))
        while True:
            found, frame = capture.read()
            if not found:
                break
            yield frame
        capture.release()


def frames_to_files(paths, folder: Path) -> None:
    """Write every frame, short side 256, as a JPEG file of its own."""
    cv2 = require("cv2", "the benchmark's plain way")
    folder.mkdir(parents=True)
    for number, frame in enumerate(_opencv_frames(paths)):
        factor = min(256 / min(frame.shape[:2]), 1.0)
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{number:06}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])


def read_clips(clips, frames: int, size: int) -> None:
    """Read windows of videos by seeking: `clips` holds (path, first frame)."""
    cv2 = require("cv2", "the benchmark's plain way")
    for path, start in clips:
        capture = cv2.VideoCapture(str(path))
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
        clip = []
        for _ in range(frames):
            found, frame = capture.read()
            if not found:
                break
            clip.append(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA))
        capture.release()
        np.stack(clip).astype("float32")


def time_distributed(image_model, frames: int, size: int):
    """`image_model` on every frame by Keras' own wrapper."""
    video = keras.Input((frames, size, size, 3))
    return keras.Model(video, layers.TimeDistributed(image_model)(video))


def random_batch(name: str = "features", shape=None):
    """Inputs and labels of `BATCH` clips."""
    random = np.random.default_rng(0)
    inputs = random.random((BATCH, *(shape or SHAPE)), dtype="float32")
    return {name: inputs}, random.integers(0, CLASSES, BATCH)


def recurrent_models():
    """The package's model, and one with the same cell unrolled in Python; both compiled."""
    ours = StructuredAttentionLSTM(CLASSES, SHAPE, units=UNITS, dropout=0.0)
    return _compiled(ours), _compiled(_unrolled())


def _compiled(model, jit_compile=False):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=jit_compile)
    return model


def end_to_end_model(jit_compile: bool):
    """A small model from pixels, convolutions included; and a batch for it."""
    model = StructuredAttentionLSTM(CLASSES, (16, 64, 64, 3), units=UNITS, backbone="tiny")
    return _compiled(model, jit_compile), random_batch("video", (16, 64, 64, 3))


def _unrolled():
    time, height, width, channels = SHAPE
    cells = height * width
    features = keras.Input(SHAPE, name="features")
    cell = AttendedLSTMCell(UNITS, cells, channels)
    flat = layers.Reshape((time, cells * channels))(features)
    zeros = ops.repeat(ops.zeros_like(flat[:, 0, :1]), UNITS, axis=-1)
    states = [zeros] * 4
    steps = []
    classifier = layers.Dense(CLASSES, activation="tanh", use_bias=False)
    for step in range(time):
        output, states = cell(flat[:, step], states)
        steps.append(ops.softmax(classifier(output[:, :UNITS])))
    logits = ops.log(ops.mean(ops.stack(steps, axis=1), axis=1))
    return keras.Model({"features": features}, logits)
