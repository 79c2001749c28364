"""Attention drawn over frames: heat maps, picture strips and videos with the decision over time.

Every color means the same weight in every frame and every video: a weight is drawn as so many
times the uniform weight `1 / (h * w)`, on a scale that never changes. Stretching each frame to
its own minimum and maximum, as papers do, makes a map that looks nowhere in particular seem sharp.
Pictures are RGB, uint8, `(H, W, 3)`.
"""

import base64
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_attn.errors import UsageError, UserError, require
from keras_attn.utils import files
from keras_attn.visualization import timeline

SCALE = 4.0  # times the uniform weight at the bright end; ours
_WIDTH = 960
_MARGIN = 20
_HEADER = 52
_LEGEND = 44
_TALLEST = 480  # of a picture in the video, so that upright videos still fit a screen
_PURPOSE = "drawing attention over frames"


def heat(where: np.ndarray, size: tuple[int, int], scale: float = SCALE) -> np.ndarray:
    """Color one map of weights.

    Shapes: `(h, w)` weights summing to one, size `(H, W)` -> `(H, W, 3)`. Cells are spread
    bilinearly, their centers in place: `(i, j)` has its center at `((i + .5) / h, (j + .5) / w)`.
    """
    return _colors()[_level(where, size, scale)]


def overlay(frame: np.ndarray, where: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """Lay the map `where` (h, w) over the frame; where nothing is attended the frame darkens."""
    level = _level(where, frame.shape[:2], scale)
    gray = frame.mean(-1, keepdims=True)  # muted, so that the colors seen are those of the map
    strength = (0.25 + 0.4 * level / 255)[..., None]
    mixed = (1 - strength) * (0.3 * frame + 0.6 * gray) + strength * _colors()[level]
    return np.round(mixed).astype("uint8")


def key_frames(frames: int, count: int) -> np.ndarray:
    """Up to `count` frame numbers evenly from the first to the last."""
    return np.unique(np.linspace(0, frames - 1, min(count, frames)).round().astype(int))


def strip(
    frames: np.ndarray, where: np.ndarray, count: int = 6, height: int = 150, scale: float = SCALE
) -> np.ndarray:
    """Key frames above, the attention of each below (the figures 5 and 6 of Quan et al. 2020).

    Shapes: `(T, H, W, 3)`, `(T, h, w)` -> one picture of two rows and up to `count` columns.
    """
    _check_lengths(len(frames), where=where)
    cv2 = require("cv2", _PURPOSE)
    width = max(1, round(height * frames.shape[2] / frames.shape[1]))
    gap, gray = 4, 128  # to be seen on light pages and on dark ones
    columns = []
    for number in key_frames(len(frames), count):
        frame = cv2.resize(frames[number], (width, height), interpolation=cv2.INTER_AREA)
        column = np.concatenate([frame, overlay(frame, where[number], scale)])
        columns += [np.insert(column, [height] * gap, gray, axis=0)]
        columns += [np.full((2 * height + gap, gap, 3), gray, "uint8")]
    return np.concatenate(columns[:-1], axis=1)


def jpeg_data_uri(picture: np.ndarray, quality: int = 85) -> str:
    """Encode a picture as a `data:image/jpeg` address, for pages without other files."""
    cv2 = require("cv2", _PURPOSE)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def check_out(path) -> None:
    """Raise `UsageError` for a path that `write_overlay` does not take, `UserError` for a folder
    that cannot be made."""
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path}: an overlay is an MP4 file; give a path that ends in .mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written there ({error}); give another path") from None


def write_overlay(
    path,
    frames: np.ndarray,
    where: np.ndarray,
    step_probabilities: np.ndarray,
    class_names,
    when: np.ndarray,
    fps: float,
    title: str = "",
    scale: float = SCALE,
) -> None:
    """Write an MP4 (H.264): the video, the attention over it, and the decision over time.

    Shapes: `(T, H, W, 3)` uint8, `(T, h, w)`, `(T, K)`, `K` names, `(T,)`. Whole or absent.
    Letters that OpenCV's fonts lack lose their accents or become `\\uXXXX`, visibly.
    Raises `UserError` when the lengths differ, or the path or `fps` cannot serve.
    """
    path = Path(path)
    check_out(path)
    if not 0 < fps <= 1000:
        raise UserError(f"{path}: fps must be more than 0 and at most 1000, got {fps}")
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UserError(f"{path}: frames must be (T, H, W, 3) uint8, got {frames.shape}")
    _check_lengths(len(frames), where=where, step_probabilities=step_probabilities, when=when)
    if len(class_names) != step_probabilities.shape[1]:
        raise UserError(
            f"{path}: {len(class_names)} class names for {step_probabilities.shape[1]} classes"
        )
    panel = timeline.Timeline(step_probabilities, class_names, when, fps, _WIDTH)
    canvas = _canvas(frames.shape[1:3], panel.height, title, scale)
    pictures = (
        _compose(canvas.copy(), frame, where[number], panel.draw(number), scale)
        for number, frame in enumerate(frames)
    )
    _encode(path, pictures, canvas.shape, fps)


def _check_lengths(frames, **arrays):
    different = {name: len(array) for name, array in arrays.items() if len(array) != frames}
    if different:
        found = ", ".join(f"{name} {length}" for name, length in different.items())
        raise UserError(f"every frame needs one row of everything: {frames} frames, but {found}")


def _level(where, size, scale):
    """How many times the uniform weight, as a row number of the color table, `(H, W)` uint8."""
    where = np.asarray(where, "float32")
    if where.ndim != 2 or not np.isfinite(where).all() or where.min() < 0:
        raise ValueError(f"where must be (h, w) weights, finite and not negative: {where.shape}")
    if abs(where.sum() - 1) > 0.01:
        raise ValueError(f"the weights of where must sum to one, got {where.sum():.4f}")
    cv2 = require("cv2", _PURPOSE)
    times_uniform = cv2.resize(where * where.size, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.round(np.clip(times_uniform / scale, 0, 1) * 255).astype("uint8")


def _colors():
    cv2 = require("cv2", _PURPOSE)
    levels = np.arange(256, dtype="uint8")[:, None]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO).reshape(256, 3)[:, ::-1]


def _picture_size(size):
    """`(height, width)` of each of the two pictures; both fit their half of the canvas."""
    room = (_WIDTH - 3 * _MARGIN) // 2
    factor = min(room / size[1], _TALLEST / size[0])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _canvas(size, panel_height, title, scale):
    """Everything that stays the same in all frames; its height is even, as H.264 wants."""
    height = _HEADER + _picture_size(size)[0] + _LEGEND + panel_height
    canvas = np.full((height + height % 2, _WIDTH, 3), timeline.GROUND, "uint8")
    timeline.text(canvas, title, (_MARGIN, 33), 0.62, timeline.BRIGHT, _WIDTH - 2 * _MARGIN)
    base = _HEADER + _picture_size(size)[0] + 25
    right = _WIDTH - _MARGIN
    left = right - 230
    timeline.text(canvas, "Video", (_MARGIN, base), 0.45, timeline.DIM)
    timeline.text(
        canvas, "Attention within the frame", (_MARGIN + _WIDTH // 2 - 10, base), 0.45, timeline.DIM
    )
    bar = _colors()[np.linspace(0, 255, 120).astype(int)]
    canvas[base - 10 : base, left : left + 120] = bar
    timeline.text(canvas, "0x", (left - 26, base), 0.42, timeline.DIM)
    uniform = left + round(119 / scale)
    canvas[base : base + 4, uniform] = timeline.DIM
    timeline.text(canvas, "1x uniform", (uniform - 8, base + 18), 0.4, timeline.DIM)
    timeline.text(canvas, f"{scale:g}x or more", (left + 128, base), 0.42, timeline.DIM)
    return canvas


def _compose(canvas, frame, where, panel, scale):
    cv2 = require("cv2", _PURPOSE)
    height, width = _picture_size(frame.shape)
    shrinks = height < frame.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    frame = cv2.resize(frame, (width, height), interpolation=way)
    half = (_WIDTH - 3 * _MARGIN) // 2
    for column, picture in enumerate((frame, overlay(frame, where, scale))):
        left = _MARGIN + column * (half + _MARGIN) + (half - width) // 2
        canvas[_HEADER : _HEADER + height, left : left + width] = picture
    top = _HEADER + height + _LEGEND
    canvas[top : top + len(panel)] = panel
    return canvas


def _encode(path, pictures, shape, fps):
    import av

    try:
        with (
            files.staging(path) as temporary,
            av.open(str(temporary), "w", format="mp4") as container,
        ):
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate)
            stream.height, stream.width = shape[:2]
            stream.pix_fmt = "yuv420p"  # the only one that every browser and phone plays
            stream.options = {"crf": "20", "preset": "veryfast"}
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise UserError(f"{path}: the overlay could not be written ({error})") from error
