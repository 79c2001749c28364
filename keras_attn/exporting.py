"""Export a run as a SavedModel that TF Serving loads: staged, verified, then published by a rename."""

import secrets
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_attn import runs
from keras_attn.errors import UserError
from keras_attn.files import write_atomic, write_json
from keras_attn.recognition import Recognizer, load_recognizer
from keras_attn.verification import Verification, reference_path, verify_folder, write_reference

SCORES = ("probabilities", "logits", "votes")
MAPS = ("where", "when", "step_probabilities")


def export(run, destination) -> Verification:
    """Write `destination/<version>/` from the run folder `run` and return what was verified.

    Signatures, T >= 1 frames of any size, B videos of the same length:

    - `serving_default`: `frames` uint8 `(B, T, H, W, 3)`;
    - `jpeg_frames`: `jpeg_frames` strings `(B, T)`, each a JPEG file;
    - `features`: `features` float32 `(B, T, h, w, C)`;
    - `explain`: `frames` as above, and beside the scores `where (B, T, h, w)`, `when (B, T)` and
      `step_probabilities (B, T, K)`.

    The scores are `probabilities`, `logits` and `votes`, each `(B, K)`; the class names lie in
    `assets/classes.txt`. The version is one above the highest there. A version folder is complete
    and verified when it appears; raises `UserError` and leaves nothing when verification fails.
    """
    run = runs.open_run(run)
    recognizer = load_recognizer(run.path)
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    staged = destination / f".staging-{secrets.token_hex(4)}"
    try:
        _write(recognizer, staged)
        write_atomic(staged / "assets" / "classes.txt", "\n".join(run.classes) + "\n")
        write_json(staged / "assets" / "recipe.json", run.facts["recipe"])
        write_reference(reference_path(staged), _reference(recognizer))
        verification = verify_folder(staged)
        if not verification.passed:
            raise UserError(
                f"{destination}: the export answers differently from the run, so it was not "
                f"published. {'; '.join(verification.lines())}"
            )
        return verification.at(_publish(staged, destination))
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write(recognizer: Recognizer, folder):
    archive = keras.export.ExportArchive()
    archive.track(recognizer.backbone)
    archive.track(recognizer.head)
    for name, (function, spec) in _endpoints(recognizer).items():
        archive.add_endpoint(name, function, [spec])
    archive.write_out(str(folder), verbose=False)


def _endpoints(recognizer):
    """For each signature: its function and what it takes."""

    def only(keys, answer):
        def endpoint(inputs):
            answers = answer(inputs)
            return {key: answers[key] for key in keys}

        return endpoint

    frames, jpegs, features = (
        function.input_signature[0]
        for function in (
            recognizer.answer_frames,
            recognizer.answer_jpegs,
            recognizer.answer_features,
        )
    )
    return {
        "serving_default": (only(SCORES, recognizer.from_frames), frames),
        "jpeg_frames": (only(SCORES, recognizer.from_jpegs), jpegs),
        "features": (only(SCORES, recognizer.from_features), features),
        "explain": (only(SCORES + MAPS, recognizer.from_frames), frames),
    }


def _reference(recognizer):
    """Requests of several shapes for each signature, and the run's own answers to them."""
    random = np.random.default_rng(0)
    cases = []
    for batch, time, height, width in ((2, recognizer.frames + 3, 40, 52), (1, 1, 33, 21)):
        frames = _smooth_video(random, batch, time, height, width)
        jpegs = [[tf.io.encode_jpeg(frame).numpy() for frame in video] for video in frames]
        features = random.random((batch, time, *recognizer.feature_shape), dtype="float32")
        scores = recognizer.answer_frames(frames)
        cases += [
            ("serving_default", frames, scores, SCORES),
            ("explain", frames, scores, SCORES + MAPS),
            ("jpeg_frames", np.array(jpegs), recognizer.answer_jpegs(jpegs), SCORES),
            ("features", features, recognizer.answer_features(features), SCORES),
        ]
    return [
        (name, request, {key: answer[key].numpy() for key in keys})
        for name, request, answer, keys in cases
    ]


def _smooth_video(random, batch, time, height, width):
    """Pictures with structure: white noise would be the same grey for every network."""
    coarse = random.uniform(0, 255, (batch * time, 4, 4, 3)).astype("float32")
    frames = tf.image.resize(coarse, (height, width), method="bicubic")
    frames = tf.cast(tf.clip_by_value(frames, 0, 255), tf.uint8)
    return tf.reshape(frames, (batch, time, height, width, 3)).numpy()


def _publish(staged, destination):
    """Rename the staged folder to the next free version; another export may be doing the same."""
    while True:
        target = destination / str(max(versions(destination), default=0) + 1)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise


def versions(destination) -> list[int]:
    """The versions that a model folder holds."""
    return [int(path.name) for path in Path(destination).iterdir() if path.name.isdigit()]
