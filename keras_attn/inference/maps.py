"""The attention of a model over one video as arrays, and the file that holds them.

Letters: T frames of the video, K classes, W clips of n positions.
"""

import numpy as np

from keras_attn.data.imported_features import nearest_positions
from keras_attn.errors import UserError
from keras_attn.utils.files import staging

_VIDEO = ("decision", "probabilities", "votes")


def video_maps(answer, classes, frame_times, clip_times=None) -> dict[str, np.ndarray]:
    """What `docs/attention_maps.md` describes, by name, from the answer of a model for a video.

    `frame_times (T,)` are seconds, and so is `clip_times`, those of the positions that the clips
    are made of, where these are not the frames.
    """
    times = frame_times if clip_times is None else clip_times
    maps = {name: answer[name] for name in _VIDEO} | {"classes": np.array(classes)}
    maps["frame_times"] = np.asarray(frame_times, "float32")
    for name, values in answer.items():
        if name.startswith("clip_positions"):
            seconds = np.asarray(times, "float32")[values]
            maps[name.replace("positions", "times")] = seconds
            frames = nearest_positions(frame_times, seconds) if clip_times is not None else values
            maps[name.replace("positions", "frames")] = frames.astype("int32")
        elif name not in (*_VIDEO, "logits"):
            maps[name] = values
    return maps


def raw_names(maps) -> list[str]:
    """The names of the maps that are outputs of a model."""
    return sorted(name for name in maps if "_attention" in name)


def write_maps(path, maps) -> None:
    """Write maps as an .npz file, whole or not at all; `numpy.load(allow_pickle=False)` reads it.

    Raises `UserError` when the model answered without the maps of its clips.
    """
    if not any(name.startswith("clip_frames") for name in maps):
        raise UserError(
            f"{path}: this SavedModel was exported by an earlier version and answers without the "
            "maps of its clips; export the run again, or explain by the run folder"
        )
    with staging(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **maps)
