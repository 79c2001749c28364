"""The reference of an export: requests, and the answers of its run, to compare served ones with."""

import dataclasses
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.errors import UserError
from keras_attn.inference.answers import WITH_LENGTHS, finite, padded
from keras_attn.serving.clean_process import read_lengths, read_request
from keras_attn.utils.files import staging

SIGNATURES = ("serving_default", "explain", "jpeg_frames")  # some exports have "features" too
_OF_FEATURES = {"serving_default", "features"}  # those of a model that takes no frames


@dataclass(frozen=True)
class Case:
    """One request to a signature and the expected answers by name.

    `lengths` are those of the videos, for a signature that takes them.
    """

    signature: str
    request: np.ndarray
    expected: dict[str, np.ndarray]
    lengths: np.ndarray | None = None


def reference_path(folder) -> Path:
    return Path(folder) / "assets.extra" / "reference.npz"


def make_reference(recognizer) -> list[Case]:
    """Requests of several shapes for each signature, with the answers of `recognizer`."""
    random = np.random.default_rng(0)
    requests = []
    for batch, time, height, width in ((2, recognizer.frames + 3, 40, 52), (1, 1, 33, 21)):
        if recognizer.takes_frames:
            frames = _smooth_video(random, batch, time, height, width)
            jpegs = [[tf.io.encode_jpeg(frame).numpy() for frame in video] for video in frames]
            requests += [
                ("serving_default", frames),
                ("explain", frames),
                ("jpeg_frames", np.array(jpegs)),
            ]
        if recognizer.per_frame:
            features = random.random((batch, time, *recognizer.feature_shape), dtype="float32")
            names = ("features",) if recognizer.takes_frames else sorted(_OF_FEATURES)
            requests += [(name, features) for name in names]
    return _answered(recognizer, [*requests, *_padded(requests)])


def _padded(requests):
    """The requests of several videos once more, where the last video has only two frames."""
    padded = {}  # signatures that take the same videos do so here
    for name, videos in requests:
        if len(videos) == 1:
            continue
        lengths = np.full(len(videos), videos.shape[1], "int32")
        lengths[-1] = 2
        if id(videos) not in padded:
            padding = {"f": np.nan, "u": 255}.get(videos.dtype.kind, b"")
            padded[id(videos)] = videos.copy()
            padded[id(videos)][-1, 2:] = padding
        yield f"{name}{WITH_LENGTHS}", padded[id(videos)], lengths


def check_reference(reference: list[Case], source) -> None:
    """`UserError` that names `source`, the model, if it answers any request by NaN or infinity."""
    for case in reference:
        finite(case.expected, source)


def answered_anew(recognizer, reference: list[Case]) -> list[Case]:
    """The requests of `reference` with the answers of `recognizer`, as far as it has some there.

    Raises `ValueError` when it does not take them.
    """
    requests = [(case.signature, case.request, case.lengths) for case in reference]
    answered = _answered(recognizer, requests)
    return [_narrowed(case, old.expected) for case, old in zip(answered, reference, strict=True)]


def _narrowed(case, names):
    """`case` with the answers of these names: an earlier version exported fewer of them."""
    expected = {name: value for name, value in case.expected.items() if name in names}
    return dataclasses.replace(case, expected=expected)


def _answered(recognizer, requests):
    """Computed on the CPU, as by the verifying process: other devices differ too much."""
    signatures = recognizer.signatures()
    cases = []
    answers = {}  # two signatures give what one function says of the same request
    for name, request, *lengths in requests:
        lengths = lengths[0] if lengths else None
        function = signatures[name.removesuffix(WITH_LENGTHS)].function
        key = (id(function), id(request))
        if key not in answers:
            with tf.device("CPU"):
                answers[key] = _answers(function, request, lengths)
        expected = _joined(answers[key], signatures[name].keys, request, lengths)
        cases.append(Case(name, request, expected, lengths))
    return cases


def _answers(function, request, lengths):
    """What `function` answers: for videos of unequal `lengths` each by itself, without padding."""
    if lengths is None:
        return [function(tf.constant(request))]
    videos = zip(request, lengths, strict=True)
    return [function(tf.constant(video[None, :length])) for video, length in videos]


def _joined(answers, keys, request, lengths):
    """The answers `keys` for all videos of a request, padded where there are `lengths`."""
    if lengths is None:
        return {key: answers[0][key].numpy() for key in keys}
    frames = request.shape[1]
    return {key: np.stack([padded(key, one[key][0], frames) for one in answers]) for key in keys}


def _smooth_video(random, batch, time, height, width):
    """Pictures with structure: white noise would be the same gray for every network."""
    coarse = random.uniform(0, 255, (batch * time, 4, 4, 3)).astype("float32")
    frames = tf.image.resize(coarse, (height, width), method="bicubic")
    frames = tf.cast(tf.clip_by_value(frames, 0, 255), tf.uint8)
    return tf.reshape(frames, (batch, time, height, width, 3)).numpy()


def write_reference(path, cases: list[Case]) -> None:
    """Write requests and expected answers; strings (JPEG) are stored as one run of bytes."""
    arrays = {}
    names = [(case.signature, sorted(case.expected)) for case in cases]
    for i, case in enumerate(cases):
        request = case.request
        if request.dtype.kind in "SO":
            arrays[f"{i}/lengths"] = np.vectorize(len)(request)
            request = np.frombuffer(b"".join(request.ravel().tolist()), np.uint8)
        arrays[f"{i}/request"] = request
        if case.lengths is not None:
            arrays[f"{i}/video_lengths"] = case.lengths
        arrays |= {f"{i}/{key}": value for key, value in case.expected.items()}
    arrays["cases"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with staging(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_reference(path) -> list[Case]:
    """Read the cases of a reference file.

    Raises `UserError` when it is missing, damaged, or does not cover every signature.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: missing, so there is nothing to compare with; export again")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = json.loads(archive["cases"].tobytes())
            reference = [
                Case(
                    name,
                    read_request(archive, i),
                    {key: archive[f"{i}/{key}"] for key in keys},
                    read_lengths(archive, i),
                )
                for i, (name, keys) in enumerate(names)
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error}); export again") from error
    there = {case.signature for case in reference if case.expected}
    absent = set(SIGNATURES) - there
    if absent and {name.removesuffix(WITH_LENGTHS) for name in there} != _OF_FEATURES:
        raise UserError(f"{path}: says nothing of {', '.join(sorted(absent))}; export again")
    return reference
