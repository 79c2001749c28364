"""The flow of one video: from its record to a record of flow.

    record -> JPEGs, some at a time -> frames -> stretched -> flow -> bytes -> gray JPEGs -> record

Frames are stretched first, so that flow is in pixels of that size; `flow.codec` says which byte
stands for how many.
"""

import concurrent.futures
import threading

import numpy as np
import tensorflow as tf
from keras import ops

from keras_attn import flow
from keras_attn.data import transforms
from keras_attn.data.record_format import PLANES, RecordFile, record_bytes
from keras_attn.data.records import RecordStore
from keras_attn.data.store import DerivedStore
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError
from keras_attn.flow import codec, warped

QUALITY = 95  # of the JPEGs, as libjpeg counts
_PAIRS_AT_ONCE = 16


class FlowMaker:
    """Makes the flow of the videos of a data folder, of several at a time in threads."""

    def __init__(self, store: DerivedStore, settings: dict):
        self.store, self.settings = store, settings
        self.records = RecordStore(store.data)
        self.sources = self.records.entries()
        self.stopped, self.ready = threading.Event(), threading.Event()
        self.first = threading.Lock()

    def stop(self) -> None:
        """Let every `make` end soon, by `CancelledError`."""
        self.stopped.set()

    def make(self, row: Row) -> tuple[dict, dict]:
        """Write the flow of a video: the start of its entry, and nothing to add to it.

        Raises `DataError` when the video can have no flow, `UserError` when the disk is full.
        """
        path = self._record(row)
        facts = {"video": {"id": row.id, "sha256": row.sha256}, **self.settings}
        try:
            return self.store.write(row.id, record_bytes(self._planes(path), PLANES, facts)), {}
        except tf.errors.InvalidArgumentError as error:
            raise DataError(str(error)) from error

    def _record(self, row):
        """The path of a record that is whole."""
        if row.frames < 2:
            raise DataError(
                "has one frame, and flow needs two; take it out of the videos and scan again"
            )
        entry = self.sources.get(row.id)
        remedy = f"{self.records.remedy()} (what is complete is kept)"
        if not self.records.is_whole(row, entry):
            raise DataError(f"its record is missing, damaged or outdated. {remedy}")
        # What is damaged is noted in the index of the records, so that `prepare` makes it again.
        self.records.check_contents([entry], full=True)
        return self.records.path(row.id)

    def _planes(self, path):
        """The JPEGs of the planes of a record: of x and y of the first, of the second, ..."""
        with RecordFile(path) as record:
            before = self._pictures(record.read(0))
            for start in range(1, len(record), _PAIRS_AT_ONCE):
                if self.stopped.is_set():
                    raise concurrent.futures.CancelledError
                numbers = range(start, min(start + _PAIRS_AT_ONCE, len(record)))
                after = self._pictures([jpeg for i in numbers for jpeg in record.read(i)])
                for plane in self._estimate(np.concatenate([before, after])):
                    yield from (_jpeg(plane[..., axis : axis + 1]) for axis in (0, 1))
                before = after[-1:]

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
    """One component `(height, width, 1)`, uint8, as a gray JPEG."""
    return tf.io.encode_jpeg(plane, format="grayscale", quality=QUALITY).numpy()
