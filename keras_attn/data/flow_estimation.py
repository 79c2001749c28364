"""The flow of one video: from its record to a record of flow.

    record -> JPEGs -> frames, some at a time -> stretched -> flow -> bytes -> grey JPEGs -> record

A record of flow holds two lists of JPEGs, "flow/x" and "flow/y". Plane k is the motion from frame k
to frame k + 1, counted from 0, so that there is one plane fewer than frames. Frames are stretched
first, so that flow is in pixels of that size; `flow.codec` says which byte stands for how many.
"""

import concurrent.futures
import dataclasses
import hashlib
import threading
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import ops

from keras_attn import flow
from keras_attn.data import batches, record_index, transforms
from keras_attn.data.records import LARGEST, sequence_example
from keras_attn.datasets.catalog import file_stem
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError
from keras_attn.flow import codec, warped
from keras_attn.utils.files import sha256, write_atomic

QUALITY = 95  # of the JPEGs, as libjpeg counts
_PAIRS_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one video: its row of the index, made now (`new`) or before, or a `problem`."""

    entry: dict | None = None
    new: bool = False
    problem: str = ""


class FlowMaker:
    """Makes the flow of the videos of a data folder, of several at a time in threads."""

    def __init__(self, data, folder, settings: dict):
        self.data, self.folder, self.settings = Path(data), Path(folder), settings
        self.sources = record_index.read_entries(data)
        self.stopped, self.ready = threading.Event(), threading.Event()
        self.first = threading.Lock()

    def stop(self) -> None:
        """Let every `make` end soon, by `CancelledError`."""
        self.stopped.set()

    def make(self, row: Row, known: dict | None = None) -> Outcome:
        """Write the flow of a video, unless what the row `known` of the index tells of is whole.

        What is wrong with this video is the outcome; `UserError` when the disk is full.
        """
        if known and sha256(self.folder / known["file"]) == known["sha256"]:
            return Outcome(known)
        try:
            content = self._serialized(row, list(self._planes(row)))
        except (DataError, tf.errors.InvalidArgumentError) as error:
            return Outcome(problem=str(error))
        file = f"{file_stem(row.id)}.record"
        write_atomic(self.folder / file, content)
        entry = {
            "id": row.id,
            "file": file,
            "planes": str(row.frames - 1),
            "bytes": str(len(content)),
            "sha256": hashlib.sha256(content).hexdigest(),
            "source": row.sha256,
        }
        return Outcome(entry, new=True)

    def _planes(self, row):
        """The JPEGs of x and of y of each plane."""
        if row.frames < 2:
            raise DataError(
                "has one frame, and flow needs two; take it out of the videos and scan again"
            )
        jpegs = self._jpegs(row)
        before, total = self._pictures(jpegs[:1]), 0
        for start in range(1, len(jpegs), _PAIRS_AT_ONCE):
            if self.stopped.is_set():
                raise concurrent.futures.CancelledError
            after = self._pictures(jpegs[start : start + _PAIRS_AT_ONCE])
            for plane in self._estimate(np.concatenate([before, after])):
                pair = [_jpeg(plane[..., axis : axis + 1]) for axis in (0, 1)]
                total += sum(map(len, pair))
                yield pair
            if total > LARGEST:
                raise DataError(
                    f"is too long: the flow of {start} of its {row.frames} frames has {total} "
                    f"bytes, and a record holds {LARGEST}; cut the video, and scan again"
                )
            before = after[-1:]

    def _jpegs(self, row):
        """The frames of a record, if that is whole."""
        entry = self.sources.get(row.id)
        remedy = f"{record_index.remedy(self.data)} (what is complete is kept)"
        if not record_index.fits(self.data, row, entry):
            raise DataError(f"its record is missing, damaged or out of date. {remedy}")
        content = (self.data / "records" / entry["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise DataError(f"its record {entry['file']} is damaged. {remedy}")
        return batches.encoded_frames(content).numpy()

    def _pictures(self, jpegs):
        """Frames stretched: JPEGs -> `(n, height, width, 3)` float32."""
        decoded = tf.stack([tf.io.decode_jpeg(jpeg, channels=3) for jpeg in jpegs])
        return _stretched(decoded, self.settings)

    def _estimate(self, frames):
        """`(n, height, width, 3)` -> planes `(n - 1, height, width, 2)`, uint8."""
        self._prepare(frames[:1])
        return _planes_between(frames, self.settings)

    def _prepare(self, frame):
        """Let the first thread that comes compile the method; all at once would do so each."""
        with self.first:
            if not self.ready.is_set():
                flow.estimate(frame, frame, self.settings["method"])
                self.ready.set()

    def _serialized(self, row, planes):
        context = {
            "video/id": row.id,
            "video/sha256": row.sha256,
            "flow/method": self.settings["method"],
            "flow/warped": [int(self.settings["warped"])],
            "flow/width": [self.settings["width"]],
            "flow/height": [self.settings["height"]],
            "flow/bound": self.settings["bound"],
        }
        x, y = zip(*planes, strict=True)
        return sequence_example(context, {"flow/x": x, "flow/y": y})


def planes_of(frames, settings) -> np.ndarray:
    """The flow of a video that is no record: planes `(T - 1, h, w, 2)`, uint8.

    Shapes: `frames` (T, H, W, 3), uint8. `settings` are those that a data folder's flow was made
    with. A single frame does not move: one plane.
    """
    frames = np.concatenate([frames, frames]) if len(frames) == 1 else frames
    pieces = [
        _planes_between(_stretched(frames[at : at + _PAIRS_AT_ONCE + 1], settings), settings)
        for at in range(0, len(frames) - 1, _PAIRS_AT_ONCE)
    ]
    return np.concatenate(pieces)


def _stretched(frames, settings):
    return transforms.resize_stretched(frames, (settings["height"], settings["width"])).numpy()


def _planes_between(frames, settings):
    estimate = warped.warped_flow if settings["warped"] else flow.estimate
    made = estimate(frames[:-1], frames[1:], settings["method"])
    return ops.convert_to_numpy(codec.to_bytes(made))


def _jpeg(plane):
    """One component `(height, width, 1)`, uint8, as a grey JPEG."""
    return tf.io.encode_jpeg(plane, format="grayscale", quality=QUALITY).numpy()
