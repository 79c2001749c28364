"""Run a backbone over prepared videos once, so that training need not."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_attn.backbones import BACKBONES, build_backbone, weights_hash
from keras_attn.data import batches, records
from keras_attn.data.features import FeatureStore, IndexWriter
from keras_attn.data.sampling import Windows
from keras_attn.data.source import stream_provenance, stream_videos
from keras_attn.data.streams import RGB, Stream
from keras_attn.datasets import tables
from keras_attn.errors import UsageError
from keras_attn.utils.files import locked, remove_leftovers, staging


@dataclass(frozen=True)
class FeaturesSummary:
    """How many videos got features now (`written`) or had them (`kept`)."""

    folder: Path
    written: int
    kept: int
    frames: int
    shape: tuple[int, ...]

    def lines(self) -> list[str]:
        total = self.written + self.kept
        shape = "x".join(map(str, self.shape))
        return [
            f"{total} videos = {self.written} written + {self.kept} kept",
            f"{self.frames} frames of {shape} float16 in {self.folder}",
        ]

    def as_dict(self) -> dict:
        return {**vars(self), "folder": str(self.folder), "shape": list(self.shape)}


def features(
    data,
    backbone: str = "inception_v3",
    *,
    endpoint: str | None = None,
    weights: str | None = "imagenet",
    size: int | None = None,
    stream: Stream = RGB,
    batch_size: int = 32,
    progress=None,
) -> FeaturesSummary:
    """Write what a backbone makes of every position of every record of `data`, as float16.

    With the default `stream` these are the frames, otherwise stacked planes of flow, or both.

    `endpoint` is where the backbone is cut (`BACKBONES[name].endpoints`; several joined by "+"), by
    default at its last maps. `size` is the input side in pixels, by default the backbone's own;
    `weights` are `"imagenet"`, a path, or None for random ones. Videos that have their features are
    left alone. Raises `DataError` when the folder holds features that were made in another way or a
    record is damaged, `UserError` when another process writes there.
    """
    if backbone not in BACKBONES:
        raise UsageError(f"no backbone {backbone!r}; there are {', '.join(BACKBONES)}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if stream.frames > 1:
        raise UsageError(
            f"snippet={stream.snippet} needs input flow, warped_flow or rgb_and_flow: features of "
            "RGB belong to single frames"
        )
    entry = BACKBONES[backbone]
    if not entry.per_frame:
        raise UsageError(
            f"backbone {backbone}: sees the frames of a clip together, so nothing of a single "
            "frame can be cached; train it with --set cached=false"
        )
    size = entry.size if size is None else size
    endpoint = endpoint or entry.endpoint
    keras.utils.set_random_seed(0)  # weights=None must give the same backbone when taken up again
    try:
        model = build_backbone(backbone, size, weights, endpoint, stream.channels)
    except ValueError as error:
        raise UsageError(str(error)) from error
    shape = tuple(model.output_shape[1:])
    store = FeatureStore(data, backbone, size, endpoint, stream)
    made = stream_provenance(data, stream)
    flow = {"flow": made.pop("flow"), "snippet": stream.snippet} if stream.reads_flow else {}
    store.claim(
        {
            "backbone": backbone,
            "endpoint": endpoint,
            "size": size,
            "shape": list(shape),
            "weights": None if weights is None else str(weights),
            "weights_sha256": weights_hash(model),
            "preprocessing": entry.preprocessing,
            "geometry": f"whole frame stretched to {size} x {size}",
            "records": made,
            **flow,
        }
    )
    busy = f"{store.folder}: another process makes these features; wait for it, or stop it"
    with locked(store.folder, busy) as held:
        if held:
            remove_leftovers(store.folder)
        with staging(store.weights_path) as beside:
            model.save_weights(beside)
        return _fill(store, model, shape, batch_size, progress)


def _fill(store, model, shape, batch_size, progress):
    kept = store.kept(shape)
    rows = records.read_index(store.data)
    missing = [row.id for row in rows if row.id not in kept]
    videos = stream_videos(store.data, store.stream, missing)
    sources = {row.id: row.sha256 for row in tables.read_manifest(store.data)}
    with IndexWriter(store, dict(kept)) as index:
        for number, video in enumerate(videos, 1):
            if video.id not in kept:
                pieces = maps(model, video, store.size, store.stream, batch_size)
                store.write(video.id, pieces, video.length, shape)
                index.add(video.id, video.length, sources[video.id])
            if progress:
                progress(number, len(videos), video.id)
    positions = sum(video.length for video in videos)
    return FeaturesSummary(store.folder, len(missing), len(videos) - len(missing), positions, shape)


def maps(model, video, size, stream, batch_size):
    """The maps of all positions of a video, `batch_size` at a time; the last piece is filled up
    and cut, because a model is compiled again for each size of a batch."""
    numbers = batches.frame_numbers(Windows(batch_size, batch_size), stream.snippet)
    read = batches.read_record(numbers, size, stream=stream)

    def pixels(start):
        whole = {"path": video.path, "flow": video.flow, "length": video.length, "start": start}
        return read(whole | {"seed": 0})["video"]

    starts = np.arange(0, video.length, batch_size, dtype="int32")
    dataset = tf.data.Dataset.from_tensor_slices(starts).map(pixels, tf.data.AUTOTUNE).prefetch(2)
    for start, pictures in zip(starts, dataset, strict=True):
        yield model.predict_on_batch(pictures)[: video.length - start]
