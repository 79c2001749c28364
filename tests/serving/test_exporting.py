"""An export has the promised signatures, appears whole or not at all, and leaves old versions."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_attn import export
from keras_attn.errors import UserError
from keras_attn.inference.answers import CLIPS, SCORES, TIMELINE, WITH_LENGTHS
from keras_attn.inference.loading import load_recognizer
from keras_attn.inference.saved_model import version_numbers
from keras_attn.serving import exporting, verification
from keras_attn.training import runs
from keras_attn.utils.files import locked


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def quick(monkeypatch, tiny_export):
    """Exports that copy the files of `tiny_export` instead of tracing and verifying again."""
    import shutil

    def copy(recognizer, folder):
        shutil.copytree(tiny_export / "1", folder)

    passed = verification.Verification(tiny_export, {("loader", "signature"): 0.0})
    monkeypatch.setattr(exporting, "load_fused", lambda *opened: None)
    monkeypatch.setattr(exporting, "_write", copy)
    monkeypatch.setattr(exporting, "make_reference", lambda recognizer: [])
    monkeypatch.setattr(exporting, "write_reference", lambda path, cases: None)
    monkeypatch.setattr(exporting, "verify_folder", lambda folder, reference: passed)


def test_signatures_have_the_promised_names_and_types(tiny_export, tiny_run):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tiny_export / "1"))
    signatures = {k: v for k, v in meta.signature_def.items() if not k.startswith("__")}
    names = ("serving_default", "jpeg_frames", "features", "explain")
    assert set(signatures) == {*names, *(f"{name}{WITH_LENGTHS}" for name in names)}

    def described(infos):
        return {
            key: (tf.as_dtype(info.dtype).name, tf.TensorShape(info.tensor_shape).as_list())
            for key, info in infos.items()
        }

    free = [None] * 5
    maps = load_recognizer(tiny_run).feature_shape
    inputs = {name: described(signature.inputs) for name, signature in signatures.items()}
    expected = {
        "serving_default": {"frames": ("uint8", [*free[:4], 3])},
        "explain": {"frames": ("uint8", [*free[:4], 3])},
        "jpeg_frames": {"jpeg_frames": ("string", [None, None])},
        "features": {"features": ("float32", [None, None, *maps])},
    }
    lengths = {"lengths": ("int32", [None])}
    padded = {f"{name}{WITH_LENGTHS}": given | lengths for name, given in expected.items()}
    assert inputs == expected | padded
    for name, signature in signatures.items():
        outputs = described(signature.outputs)
        maps = (*TIMELINE, *CLIPS, "spatial_attention")
        explained = {"explain": maps, f"explain{WITH_LENGTHS}": TIMELINE}.get(name, ())
        assert set(outputs) == {*SCORES, *explained}
        kinds = {key: kind for key, (kind, _) in outputs.items()}
        assert kinds.pop("clip_positions", "int32") == "int32"
        assert set(kinds.values()) == {"float32"}
        assert outputs["probabilities"][1][-1] == 4


def test_any_length_and_size_is_answered_as_by_the_run(tiny_export, tiny_run):
    loaded = tf.saved_model.load(str(tiny_export / "1"))
    recognizer = load_recognizer(tiny_run)
    for shape in ((2, 1, 7, 9), (1, 5, 64, 33), (3, 2, 1, 1), (2, 13, 30, 41)):
        frames = np.random.default_rng(1).integers(0, 256, (*shape, 3), "uint8")
        answer = loaded.signatures["explain"](frames=tf.constant(frames))
        expected = recognizer.answer_frames(frames)
        for key, value in answer.items():
            np.testing.assert_allclose(value, expected[key], atol=1e-5, err_msg=key)
        assert answer["where"].shape[:2] == shape[:2]


def test_videos_of_unequal_length_are_answered_as_by_themselves(tiny_export):
    """Whatever they are padded with, which TF Serving chooses for the videos of several clients."""
    signatures = tf.saved_model.load(str(tiny_export / "1")).signatures
    random = np.random.default_rng(2)
    frames = random.integers(0, 256, (4, 7, 20, 30, 3), "uint8")
    lengths = np.array([7, 1, 4, 4], "int32")
    for padding in (0, frames[2, 3]):
        videos = frames.copy()
        for video, length in zip(videos, lengths, strict=True):
            video[length:] = padding
        answer = signatures[f"explain{WITH_LENGTHS}"](
            frames=tf.constant(videos), lengths=tf.constant(lengths)
        )
        for b, n in enumerate(lengths):
            alone = signatures["explain"](frames=tf.constant(videos[b : b + 1, :n]))
            for key, value in answer.items():
                found = value[b, :n] if key in TIMELINE else value[b]
                np.testing.assert_allclose(found, alone[key][0], atol=1e-6, err_msg=key)
                assert key not in TIMELINE or not np.any(value[b, n:])
    for wrong, message in (([7, 0], "at least 1"), ([8, 1], "at most"), ([7], "for each video")):
        given = {"frames": tf.constant(frames[:2]), "lengths": tf.constant(wrong)}
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`lengths` must .*{message}"):
            signatures[f"serving_default{WITH_LENGTHS}"](**given)


def test_the_class_names_and_the_recipe_travel_with_it(tiny_export, tiny_run):
    run = runs.open_run(tiny_run)
    text = (tiny_export / "1" / "assets" / "classes.txt").read_text()
    assert text == "".join(f"{name}\n" for name in run.classes)
    assert (tiny_export / "1" / "assets" / "training.json").exists()
    assert sorted(path.name for path in tiny_export.iterdir()) == ["1"]


def test_exporting_again_adds_a_version_and_leaves_the_first_alone(quick, tiny_run, tmp_path):
    first = export(tiny_run, tmp_path / "models").path
    before = contents(first)
    (tmp_path / "models" / "notes.txt").write_text("kept")
    (tmp_path / "models" / "7").mkdir()
    second = export(tiny_run, tmp_path / "models").path
    assert (first.name, second.name) == ("1", "8")
    assert contents(first) == before
    assert (tmp_path / "models" / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "stage", ["_write", "write_assets", "make_reference", "verify_folder", "_flush_all", "_publish"]
)
def test_an_error_at_any_stage_leaves_the_old_version_alone(
    quick, tiny_run, tmp_path, monkeypatch, stage
):
    export(tiny_run, tmp_path / "models")
    before = contents(tmp_path)

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(exporting, stage, fail)
    with pytest.raises(OSError, match="No space"):
        export(tiny_run, tmp_path / "models")
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["1"]


def test_an_export_that_answers_otherwise_is_not_published(quick, tiny_run, tmp_path, monkeypatch):
    differs = verification.Verification(
        tmp_path, {(name, "features"): 0.5 for name in verification.LOADERS}
    )
    monkeypatch.setattr(exporting, "verify_folder", lambda folder, reference: differs)
    with pytest.raises(UserError, match="not published.*features by 5.0e-01"):
        export(tiny_run, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_another_export_that_was_quicker_is_not_overwritten(quick, tiny_run, tmp_path, monkeypatch):
    answers = iter([[], [1]])
    (tmp_path / "models" / "1").mkdir(parents=True)
    (tmp_path / "models" / "1" / "file").write_text("theirs")
    monkeypatch.setattr(exporting, "version_numbers", lambda destination: next(answers))
    assert export(tiny_run, tmp_path / "models").path.name == "2"
    assert (tmp_path / "models" / "1" / "file").read_text() == "theirs"


def test_another_export_to_the_same_folder_is_refused(quick, tiny_run, tmp_path):
    destination = tmp_path / "models"
    destination.mkdir()
    with locked(destination), pytest.raises(UserError, match="another process exports there"):
        export(tiny_run, destination)
    assert export(tiny_run, destination).path.name == "1"


def test_mistakes_are_named(tiny_run, tiny_data, tiny_export, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        export(tiny_run, tmp_path / "file")
    with pytest.raises(UserError, match="lies below a file"):
        export(tiny_run, tmp_path / "file" / "models")
    with pytest.raises(UserError, match="is one version of a model; give the folder above"):
        export(tiny_run, tiny_export / "1")
    with pytest.raises(UserError, match="holds no run"):
        export(tiny_data, tmp_path / "models")
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    (unfinished / "run.json").write_bytes((tiny_run / "run.json").read_bytes())
    with pytest.raises(UserError, match="the run is not finished; go on with.*--resume"):
        export(unfinished, tmp_path / "models")
    (unfinished / "results.json").write_bytes((tiny_run / "results.json").read_bytes())
    (unfinished / "model.keras").write_bytes((tiny_run / "model.keras").read_bytes()[:3000])
    with pytest.raises(UserError, match="model.keras: cannot be loaded"):
        export(unfinished, tmp_path / "models")
    assert not (tmp_path / "models").exists()


# A process that exports again and again, quickly, so that a kill can hit any moment of publishing.
LOOP = """
import os, shutil, sys
from keras_attn.serving import exporting, verification
export, run = sys.argv[1:]
exporting.load_fused = lambda *opened: None
exporting._write = lambda recognizer, folder: shutil.copytree(export, folder)
exporting.make_reference = lambda recognizer: []
exporting.write_reference = lambda path, cases: None
passed = verification.Verification(export, {("loader", "signature"): 0.0})
exporting.verify_folder = lambda folder, reference: passed
for destination in sys.stdin:
    child = os.fork()
    while not child:
        exporting.export(run, destination.strip())
    print(child, flush=True)
    os.waitpid(child, 0)
"""
KILLS = 6


@pytest.mark.slow
def test_a_killed_export_leaves_whole_versions_only(quick, tiny_export, tiny_run, tmp_path):
    whole = contents(tiny_export / "1")
    rng = np.random.default_rng(11)
    arguments = [str(tiny_export / "1"), str(tiny_run)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    folders = [tmp_path / f"models{i}" for i in range(KILLS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", LOOP, *arguments]
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        for folder in folders:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            while not version_numbers(folder):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
    for folder in folders:
        for version in version_numbers(folder):
            assert contents(folder / str(version)) == whole
        export(tiny_run, folder)
        names = [path.name for path in folder.iterdir()]
        assert all(name.isdecimal() for name in names), "what was left behind is removed"
        assert contents(folder / str(max(version_numbers(folder)))) == whole


@pytest.mark.slow
def test_a_real_export_killed_while_it_writes_publishes_nothing(tiny_export, tiny_run, tmp_path):
    command = [sys.executable, "-m", "keras_attn", "export", str(tiny_run), str(tmp_path / "m")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staged = []
    while not staged and process.poll() is None:
        staged = list((tmp_path / "m").glob(".staging-*/variables"))
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert staged
    assert version_numbers(tmp_path / "m") == []
    with pytest.raises(UserError, match="holds no SavedModel"):
        verification.verify(tmp_path / "m")
