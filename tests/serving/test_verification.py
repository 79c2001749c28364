"""Verification passes a whole export, and nothing that was changed, cut, exchanged or left out."""

import json
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from clean_server import one_clean_process

from keras_attn import verify
from keras_attn.cli.parser import main
from keras_attn.errors import UserError
from keras_attn.inference import saved_model
from keras_attn.inference.answers import WITH_LENGTHS
from keras_attn.serving import clean_process, verification
from keras_attn.serving.reference import (
    SIGNATURES,
    Case,
    read_reference,
    reference_path,
    write_reference,
)
from keras_attn.serving.verification import (
    LOADERS,
    TOLERANCE,
    Verification,
    _difference,
)

EVERY = (*SIGNATURES, "features")  # of a model whose backbone sees single frames
ALL = {*EVERY, *(f"{name}{WITH_LENGTHS}" for name in EVERY)}


@pytest.fixture(scope="module", autouse=True)
def server(tiny_export):
    with one_clean_process():
        yield


@pytest.fixture
def copy(tiny_export, tmp_path):
    """A version folder that a test may change."""
    return shutil.copytree(tiny_export, tmp_path / "models") / "1"


def change_reference(folder, change):
    write_reference(reference_path(folder), change(read_reference(reference_path(folder))))


def test_a_whole_export_agrees_with_its_run_in_every_signature_and_loader(
    tiny_export, tiny_run, monkeypatch
):
    monkeypatch.setattr(verification, "subprocess", subprocess)  # a process of its own
    found = verify(tiny_export, run=tiny_run)
    assert found.passed
    assert set(found.differences) == {(x, y) for x in LOADERS for y in ALL}
    assert max(found.differences.values()) <= TOLERANCE
    assert found.path == tiny_export / "1"


def test_the_reference_asks_for_several_videos_one_frame_and_odd_sizes(tiny_export):
    shapes = {name: [] for name in EVERY}
    for case in read_reference(reference_path(tiny_export / "1")):
        if case.lengths is not None:
            assert case.signature.endswith(WITH_LENGTHS) and case.lengths.tolist() == [8, 2]
            continue
        shapes[case.signature].append(case.request.shape)
        assert all(len(value) == len(case.request) for value in case.expected.values())
    for name, found in shapes.items():
        assert {shape[0] for shape in found} == {1, 2}, name
        assert min(shape[1] for shape in found) == 1
        assert max(shape[1] for shape in found) == 8


def test_a_changed_reference_fails_with_exit_code_1(copy, capsys):
    def other(reference):
        case = next(case for case in reference if case.signature == "features")
        case.expected["probabilities"] += np.float32(1e-3)
        return reference

    change_reference(copy, other)
    assert main(["verify", str(copy), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    differing = {r["signature"] for r in found["differences"] if r["difference"] > TOLERANCE}
    assert differing == {"features"}
    assert max(r["difference"] for r in found["differences"]) == pytest.approx(1e-3, rel=0.01)


def test_lines_name_what_differs():
    first, second = LOADERS
    found = Verification(
        "x",
        {
            (first, "explain"): 1e-6,
            (first, "features"): 1e-3,
            (second, "explain"): 0.0,
            (second, "features"): 2e-6,
        },
    )
    assert found.lines() == [
        "x: DIFFERS from its run",
        f"{first}: differs by more than 1e-05: features by 1.0e-03",
        f"{second}: 2 signatures, largest difference 2.0e-06",
    ]
    assert (
        "nan" in Verification("x", {(name, "explain"): float("nan") for name in LOADERS}).lines()[1]
    )


def test_a_flipped_byte_of_a_weight_fails_with_exit_code_1(copy, capsys):
    (path,) = (copy / "variables").glob("*.data-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    assert main(["verify", str(copy)]) == 1
    printed = "".join(capsys.readouterr())
    assert str(copy) in printed
    assert "DIFFERS" in printed or "could not be loaded" in printed
    assert "Traceback" not in printed


def drop(*keys):
    def change(reference):
        return [case for case in reference if case.signature not in keys]

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: reference_path(folder).unlink(), "missing.*export again"),
        (lambda folder: reference_path(folder).write_bytes(b"PK\x03\x04"), "is damaged"),
        (lambda folder: reference_path(folder).write_bytes(b""), "is damaged"),
        (lambda folder: change_reference(folder, drop(*SIGNATURES)), "says nothing of explain, j"),
        (lambda folder: change_reference(folder, drop("features")), "says nothing of features; ex"),
        (lambda folder: change_reference(folder, drop("features")), "says nothing of features"),
        (lambda folder: (folder / "saved_model.pb").unlink(), "holds no SavedModel"),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff" * 99), "could not be lo"),
        (lambda folder: shutil.rmtree(folder / "variables"), "could not be loaded"),
    ],
)
def test_damage_is_named(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as error:
        verify(copy)
    assert str(copy) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_cut_of_the_reference_is_found(copy):
    whole = reference_path(copy).read_bytes()
    for share in np.linspace(0.02, 0.98, 25):
        reference_path(copy).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match="is damaged"):
            read_reference(reference_path(copy))


@pytest.mark.parametrize(
    ("per_frame", "found"), [(True, r"\(8, 8, 32\)"), (False, "none; it was exported from another")]
)
def test_a_run_of_another_shape_is_refused(tiny_export, tiny_run, monkeypatch, per_frame, found):
    from keras_attn.inference import loading

    other = types.SimpleNamespace(per_frame=per_frame, feature_shape=(8, 8, 32))
    monkeypatch.setattr(loading, "load_recognizer", lambda *run: other)
    message = rf"takes features \(4, 4, \d+\), but the run .* has {found}"
    with pytest.raises(UserError, match=message):
        verify(tiny_export, run=tiny_run)


def test_a_run_whose_flow_needs_opencv_is_refused(tiny_export, tiny_run, monkeypatch):
    from keras_attn.inference import loading

    shape = loading.load_recognizer(tiny_run).feature_shape
    other = types.SimpleNamespace(per_frame=True, feature_shape=shape, signatures=lambda: {})
    monkeypatch.setattr(loading, "load_recognizer", lambda *run: other)
    with pytest.raises(UserError, match="has the signatures explain, .*, which .* needs OpenCV"):
        verify(tiny_export, run=tiny_run)


def test_missing_answers_other_shapes_and_nan_count_as_infinite_differences():
    expected = np.zeros((2, 3), "float32")
    assert _difference(None, expected) == np.inf
    assert _difference(np.zeros((2, 1), "float32"), expected) == np.inf
    assert _difference(np.full((2, 3), np.nan, "float32"), expected) == np.inf
    assert _difference(expected + np.float32(0.25), expected) == 0.25
    assert not Verification("x", {("a", "b"): 0.0, ("a", "c"): np.inf}).passed


def test_strings_survive_a_reference_file(tmp_path):
    strings = np.array([[b"a\0b", b""], [b"\xff\xd8", b"long" * 9]], object)
    write_reference(tmp_path / "r.npz", [Case(n, strings, {"p": np.ones(2)}) for n in SIGNATURES])
    case = read_reference(tmp_path / "r.npz")[0]
    assert case.signature == SIGNATURES[0]
    assert case.request.tolist() == strings.tolist()
    assert case.expected["p"].tolist() == [1, 1]


# What stack.md calls the trap: a list of Keras variables loads in TF 2 and fails in TF Serving.
TRAP = """
import keras, numpy as np, sys, tensorflow as tf
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
module = tf.Module()
module.vars = list(model.variables)
spec = tf.TensorSpec((None, 3), tf.float32, "frames")
call = tf.function(lambda frames: {"probabilities": model(frames)}, input_signature=[spec])
names = sys.argv[2:]
tf.saved_model.save(module, sys.argv[1], {name: call.get_concrete_function() for name in names})
"""


def test_a_model_that_only_the_new_loader_can_load_is_refused(tmp_path):
    folder = tmp_path / "trap"
    subprocess.run([sys.executable, "-W", "ignore", "-c", TRAP, str(folder), *EVERY], check=True)
    request = np.ones((1, 3), "float32")
    loaded = tf.saved_model.load(str(folder)).signatures["features"]
    expected = {"probabilities": loaded(tf.constant(request))["probabilities"].numpy()}
    write_reference(reference_path(folder), [Case(name, request, expected) for name in SIGNATURES])
    with pytest.raises(UserError, match="could not be loaded and asked in a clean process"):
        verify(folder)


def test_the_verifying_process_can_import_neither_the_package_nor_keras(tmp_path):
    script = tmp_path / "script.py"
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("process", {clean_process.__file__!r})
process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(process)
try:
    process.main("nowhere", "no-file", "none")
except FileNotFoundError:
    pass
import tensorflow
for name in ("keras", "keras.layers", "keras_attn", "keras_attn.models"):
    try:
        __import__(name)
    except ImportError:
        print("no", name)
print(sorted(m for m in sys.modules if m.startswith("keras") and sys.modules[m]))
"""
    script.write_text(program)
    found = subprocess.run(
        [sys.executable, "-I", str(script)], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [
        "no keras",
        "no keras.layers",
        "no keras_attn",
        "no keras_attn.models",
        "[]",
    ]


def test_the_verifying_process_is_isolated_and_without_a_gpu(tiny_export, monkeypatch):
    seen = {}

    def run(command, env, **settings):
        seen.update(command=command, env=env)
        return subprocess.CompletedProcess(command, 1, "", "first\nlast line")

    monkeypatch.setattr(verification.subprocess, "run", run)
    with pytest.raises(UserError, match="clean process: last line$"):
        verify(tiny_export)
    assert seen["command"][1] == "-I"
    assert seen["command"][2] == clean_process.__file__
    assert seen["env"]["CUDA_VISIBLE_DEVICES"] == "-1"


def test_the_highest_version_is_taken(copy):
    (copy.parent / "9").mkdir()
    with pytest.raises(UserError, match="holds no SavedModel"):
        saved_model.version_folder(copy.parent)
    copy.rename(copy.parent / "10")
    assert saved_model.version_folder(copy.parent) == copy.parent / "10"
    assert saved_model.version_folder(copy.parent / "10") == copy.parent / "10"
    with pytest.raises(UserError, match="holds no SavedModel"):
        saved_model.version_folder(copy.parent / "nothing")
