"""Export a run as a SavedModel that TF Serving loads: staged, verified, published by a rename."""

import contextlib
import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_attn.data.streams import flow_name, in_graph
from keras_attn.errors import UsageError, UserError
from keras_attn.inference.loading import fusion_weights, load_fused
from keras_attn.inference.pieces import TIMELINE
from keras_attn.inference.saved_model import versions
from keras_attn.serving.verification import (
    Verification,
    answered,
    read_reference,
    reference_path,
    verify_folder,
    write_reference,
)
from keras_attn.training import runs
from keras_attn.utils.files import flush, locked, write_atomic, write_json

SCORES = ("probabilities", "logits", "votes")


def export(
    run: Path | str | Sequence[Path | str],
    destination: Path | str,
    *,
    weights: Sequence[float] | None = None,
) -> Verification:
    """Write `destination/<version>/` from the run folder `run` and return what was verified.

    Several run folders, as of RGB and of flow, become one model that averages their probabilities
    with `weights`, by default those of the papers for their inputs (`late_fusion`). A model of flow
    computes it from the frames, by TV-L1; one of another flow cannot be exported.

    Signatures, T >= 1 frames of any size, B videos of the same length:

    - `serving_default`: `frames` uint8 `(B, T, H, W, 3)`;
    - `jpeg_frames`: `jpeg_frames` strings `(B, T)`, each a JPEG file;
    - `features`: `features` float32 `(B, T, ...)`, unless the backbone sees several frames at once;
    - `explain`: `frames` as above, and beside the scores `where (B, T, h, w)`, `when (B, T)` and
      `step_probabilities (B, T, K)`.

    The scores are `probabilities`, `logits` and `votes`, each `(B, K)`; the class names lie in
    `assets/classes.txt`. The version is one above the highest there. A version folder is complete
    and verified when it appears; raises `UserError` and leaves nothing when verification fails.
    What killed exports left behind (`.staging-*`, which TF Serving does not look at) is removed.
    """
    opened = runs.open_runs(run)
    weights = fusion_weights(opened, weights)
    _check_flow(opened)
    recognizer = load_fused(opened, weights)
    destination = _model_folder(destination)
    with _staging(destination) as staged:
        _write(recognizer, staged)
        write_atomic(staged / "assets" / "classes.txt", "\n".join(opened[0].classes) + "\n")
        training = {
            "recipes": [run.facts["recipe"] for run in opened],
            "weights": weights,
            "short_side": max(run.short_side for run in opened),
        }
        write_json(staged / "assets" / "training.json", training)
        write_reference(reference_path(staged), _reference(recognizer))
        verification = verify_folder(staged, read_reference(reference_path(staged)))
        if not verification.passed:
            raise UserError(
                f"{destination}: the export answers differently from the run, so it was not "
                f"published. {'; '.join(verification.lines()[1:])}"
            )
        _flush_all(staged)
        return verification.at(_publish(staged, destination))


def _check_flow(opened):
    for run in opened:
        flow = run.facts["input"].get("flow")
        if not in_graph(flow):
            name = flow_name(flow["method"], flow["warped"])
            raise UserError(
                f"{run.path}: sees flow by {name}, which needs OpenCV and cannot be computed in a "
                "SavedModel. Train it with input=flow and flow_method=tvl1, or use the run itself "
                "(keras-attn predict)"
            )


def _model_folder(destination):
    destination = Path(destination)
    if (destination / "run.json").exists():
        raise UsageError(
            f"{destination}: is a run, where a model folder was expected; give the destination "
            "last, as in saved_models/NAME"
        )
    if (destination / "saved_model.pb").exists():
        raise UserError(
            f"{destination}: is one version of a model; give the folder above it, "
            f"{destination.parent}, which gets a new version"
        )
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{destination}: is not a folder, or lies below a file ({error})") from None
    return destination


@contextlib.contextmanager
def _staging(destination):
    """Yield a folder to write to, which is removed unless it was renamed.

    One export at a time writes to `destination`, so that what lies staged there when it begins was
    left by a killed one. The lock ends with the process, however it ends.
    """
    staged = destination / f".staging-{secrets.token_hex(4)}"
    with locked(destination) as held:
        for remains in destination.glob(".staging-*") if held else ():
            shutil.rmtree(remains)
        try:
            yield staged
            flush(destination)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _flush_all(folder):
    """Bring everything to the disk before the rename, so that a power cut leaves no empty files."""
    for path in (folder, *folder.rglob("*")):
        flush(path)


def _write(recognizer, folder):
    archive = keras.export.ExportArchive()
    for model in recognizer.models:
        archive.track(model)
    for name, (function, spec) in _endpoints(recognizer).items():
        archive.add_endpoint(name, function, [spec])
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)  # its notes name the staged folder, which is gone afterwards
    try:
        archive.write_out(str(folder), verbose=False)
    finally:
        logger.setLevel(before)


def _endpoints(recognizer):
    """For each signature: its function and what it takes."""

    def only(keys, answer):
        def endpoint(inputs):
            answers = answer(inputs)
            return {key: answers[key] for key in keys}

        return endpoint

    frames, jpegs = (
        function.input_signature[0]
        for function in (recognizer.answer_frames, recognizer.answer_jpegs)
    )
    endpoints = {
        "serving_default": (only(SCORES, recognizer.from_frames), frames),
        "jpeg_frames": (only(SCORES, recognizer.from_jpegs), jpegs),
        "explain": (only((*SCORES, *TIMELINE), recognizer.from_frames), frames),
    }
    if recognizer.per_frame:
        features = recognizer.answer_features.input_signature[0]
        endpoints["features"] = (only(SCORES, recognizer.from_features), features)
    return endpoints


def _reference(recognizer):
    """Requests of several shapes for each signature, and the run's own answers to them."""
    random = np.random.default_rng(0)
    cases = []
    for batch, time, height, width in ((2, recognizer.frames + 3, 40, 52), (1, 1, 33, 21)):
        frames = _smooth_video(random, batch, time, height, width)
        jpegs = [[tf.io.encode_jpeg(frame).numpy() for frame in video] for video in frames]
        cases += [
            ("serving_default", frames, SCORES),
            ("explain", frames, (*SCORES, *TIMELINE)),
            ("jpeg_frames", np.array(jpegs), SCORES),
        ]
        if recognizer.per_frame:
            features = random.random((batch, time, *recognizer.feature_shape), dtype="float32")
            cases.append(("features", features, SCORES))
    return answered(recognizer, cases)


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
