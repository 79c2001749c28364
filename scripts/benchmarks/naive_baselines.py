"""Naive baselines of what this package does, which the throughput benchmark compares with."""

import json
import sys
import time
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
    cv2 = require("cv2", "the benchmark's naive baseline")
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
    cv2 = require("cv2", "the benchmark's naive baseline")
    folder.mkdir(parents=True)
    for number, frame in enumerate(_opencv_frames(paths)):
        factor = min(256 / min(frame.shape[:2]), 1.0)
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{number:06}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])


def read_clips(clips, frames: int, size: int) -> None:
    """Read windows of videos by seeking: `clips` holds (path, first frame)."""
    cv2 = require("cv2", "the benchmark's naive baseline")
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


def opencv_video(path, size: int) -> np.ndarray:
    """All frames of a video, stretched, `(n, size, size, 3)` float32 RGB."""
    cv2 = require("cv2", "the benchmark's naive baseline")
    frames = [
        cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]
        for frame in _opencv_frames([path])
    ]
    return np.stack(frames).astype("float32")


def time_distributed(image_model, frames: int, size: int):
    """`image_model` on every frame by Keras' own wrapper."""
    video = keras.Input((frames, size, size, 3))
    return keras.Model(video, layers.TimeDistributed(image_model)(video))


def random_batch(name: str = "features", shape=None):
    """Inputs and labels of `BATCH` clips."""
    random = np.random.default_rng(0)
    inputs = random.random((BATCH, *(shape or SHAPE)), dtype="float32")
    return {name: inputs}, random.integers(0, CLASSES, BATCH)


def recurrent():
    """The package's graph, compiled for the plain cross-entropy of a clip."""
    model = StructuredAttentionLSTM(
        CLASSES, SHAPE, units=UNITS, attention="classic", dropout=0.0, weight_decay=0.0
    )
    return _compiled(keras.Model(model.input, model.output["logits"]))


def _compiled(model, jit_compile=False):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=jit_compile)
    return model


def xla_times(turns: int, steps: int) -> dict[str, list[float]]:
    """Seconds of `steps` training steps of a small model from pixels, without and with XLA."""
    shape = (16, 64, 64, 3)
    batch = random_batch("video", shape)
    models = {}
    for name, jit_compile in (("plain graph", False), ("XLA", True)):
        model = StructuredAttentionLSTM(CLASSES, shape, units=UNITS, backbone="tiny")
        models[name] = _compiled(model, jit_compile)
        models[name].train_on_batch(*batch)
    times = {name: [] for name in models}
    for _ in range(turns):
        for name, model in models.items():
            started = time.perf_counter()
            for _ in range(steps):
                model.train_on_batch(*batch)
            times[name].append(time.perf_counter() - started)
    return times


def unrolled():
    """The same graph and objective, with the same cell in a Python loop over the frames."""
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
    return _compiled(keras.Model({"features": features}, logits))


if __name__ == "__main__":
    # In a process of its own: where ops were made deterministic, Keras leaves XLA out.
    sys.stdout.write(json.dumps(xla_times(*map(int, sys.argv[1:]))) + "\n")
