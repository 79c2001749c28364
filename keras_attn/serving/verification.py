"""Verify an exported SavedModel in a process that knows nothing of this package."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_attn.errors import UserError
from keras_attn.inference.saved_model import version_folder
from keras_attn.serving.clean_process import read_request
from keras_attn.training.runs import open_runs
from keras_attn.utils.files import read_json, staging

TOLERANCE = 1e-5
LOADERS = ("tf.saved_model.load", "tf.compat.v1.saved_model.loader")
SIGNATURES = ("serving_default", "explain", "jpeg_frames")  # some exports have "features" too


@dataclass(frozen=True)
class Verification:
    """The largest absolute difference of each signature under each loader: (loader, signature)."""

    path: Path
    differences: dict[tuple[str, str], float]

    @property
    def passed(self) -> bool:
        return all(difference <= TOLERANCE for difference in self.differences.values())

    def at(self, path) -> "Verification":
        return dataclasses.replace(self, path=Path(path))

    def lines(self) -> list[str]:
        verdict = "answers as its run does" if self.passed else "DIFFERS from its run"
        differences = [
            f"{loader}: {signature} differs by {difference:.1e}"
            f"{'' if difference <= TOLERANCE else f', more than {TOLERANCE}'}"
            for (loader, signature), difference in self.differences.items()
        ]
        return [f"{self.path}: {verdict}", *differences]

    def as_dict(self) -> dict:
        rows = [
            {"loader": loader, "signature": signature, "difference": difference}
            for (loader, signature), difference in self.differences.items()
        ]
        return {"path": str(self.path), "passed": self.passed, "differences": rows}


def verify(
    saved_model: Path | str, *, run: Path | str | Sequence[Path | str] | None = None
) -> Verification:
    """Load an export with both loaders and compare every signature with the run's answers.

    `saved_model` is a version folder, or a model folder (its highest version is taken). The
    requests and expected answers are those that the export carries; with `run`, the answers are
    computed anew from that run folder. Raises `UserError` when the folder holds no SavedModel,
    carries no whole reference, cannot be loaded, or is of another kind of model than `run`.
    """
    folder = version_folder(saved_model)
    reference = read_reference(reference_path(folder))
    if run is None:
        return verify_folder(folder, reference)
    from keras_attn.inference.loading import load_fused

    runs = open_runs(run)
    weights = read_json(folder / "assets" / "training.json").get("weights")
    if weights is None:
        raise UserError(f"{folder}: was exported by an earlier version; export the run again")
    if len(weights) != len(runs):
        raise UserError(
            f"{folder}: was exported from {len(weights)} runs, got {len(runs)} to compare it with"
        )
    recognizer = load_fused(runs, weights)
    for name, request, _ in reference:
        found = recognizer.feature_shape if recognizer.per_frame else "none"
        if name == "features" and request.shape[2:] != found:
            raise UserError(
                f"{folder}: takes features {request.shape[2:]}, but the run {runs[0].path} has "
                f"{found}; it was exported from another run"
            )
    return verify_folder(folder, answered(recognizer, reference))


def answered(recognizer, cases) -> list[tuple]:
    """Cases `(signature, request, names of answers)` with the answers of `recognizer` to them.

    Computed on the CPU as in the verifying process: devices differ by more than `TOLERANCE`.
    """
    functions = {
        "serving_default": recognizer.answer_frames,
        "explain": recognizer.answer_frames,
        "jpeg_frames": recognizer.answer_jpegs,
    }
    if recognizer.per_frame:
        functions["features"] = recognizer.answer_features
    reference = []
    for name, request, keys in cases:
        with tf.device("CPU"):
            answer = functions[name](tf.constant(request))
        reference.append((name, request, {key: answer[key].numpy() for key in keys}))
    return reference


def verify_folder(folder, reference) -> Verification:
    """Verify one version folder against `reference` (see `read_reference`)."""
    with tempfile.TemporaryDirectory() as scratch:
        requests, answers = Path(scratch) / "requests.npz", Path(scratch) / "answers.npz"
        write_reference(requests, reference)
        script = Path(__file__).with_name("clean_process.py")
        # -I: neither the present folder nor PYTHONPATH can bring the package in.
        process = subprocess.run(
            [sys.executable, "-I", str(script), str(folder), str(requests), str(answers)],
            capture_output=True,
            text=True,
            check=False,
            # This process may hold all memory of the GPU, so the other one does without.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{folder}: could not be loaded and asked in a clean process: {last}")
        with np.load(answers, allow_pickle=False) as found:
            return Verification(Path(folder), _differences(reference, found))


def _differences(reference, found):
    differences: dict[tuple[str, str], float] = {}
    for loader in LOADERS:
        for i, (name, _, expected) in enumerate(reference):
            for key, value in expected.items():
                difference = _difference(found.get(f"{loader}/{i}/{key}"), value)
                differences[loader, name] = max(differences.get((loader, name), 0.0), difference)
    return differences


def _difference(answer, expected):
    """The largest one; infinite when there is no such answer, or no number in it."""
    if answer is None or answer.shape != expected.shape:
        return np.inf
    largest = float(np.max(np.abs(answer - expected)))
    return np.inf if np.isnan(largest) else largest


def reference_path(folder) -> Path:
    return Path(folder) / "assets.extra" / "reference.npz"


def write_reference(path, cases) -> None:
    """Write requests and expected answers; strings (JPEG) travel as one run of bytes."""
    arrays = {}
    names = [(name, sorted(expected)) for name, _, expected in cases]
    for i, (_, request, expected) in enumerate(cases):
        if request.dtype.kind in "SO":
            arrays[f"{i}/lengths"] = np.vectorize(len)(request)
            request = np.frombuffer(b"".join(request.ravel().tolist()), np.uint8)
        arrays[f"{i}/request"] = request
        arrays |= {f"{i}/{key}": value for key, value in expected.items()}
    arrays["cases"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with staging(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_reference(path) -> list[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """What `write_reference` wrote: (signature, request, expected answers).

    Raises `UserError` when it is missing, damaged, or does not cover every signature.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: missing, so there is nothing to compare with; export again")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            cases = json.loads(archive["cases"].tobytes())
            reference = [
                (name, read_request(archive, i), {key: archive[f"{i}/{key}"] for key in keys})
                for i, (name, keys) in enumerate(cases)
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error}); export again") from error
    absent = set(SIGNATURES) - {name for name, _, expected in reference if expected}
    if absent:
        raise UserError(f"{path}: says nothing of {', '.join(sorted(absent))}; export again")
    return reference
