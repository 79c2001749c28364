"""The verbs of the command line one after the other, on tiny data."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import keras_attn
from keras_attn.cli.parser import main

TINY = ["--set", "clips.stride=3", "--set", "clips.frames=5", "--set", "clips.size=32"]
TINY += ["--set", "model.units=4", "--set", "epochs=1", "--set", "batch_size=8"]


@pytest.mark.slow
def test_the_verbs_one_after_the_other(json_of, tiny_data, tmp_path):
    def result_of(*arguments):
        code, found = json_of(*arguments)
        assert code == 0, found
        return found

    videos = tiny_data.parent / "videos"
    video = next((videos / "left").iterdir())
    data, run, models = tmp_path / "data", tmp_path / "run", tmp_path / "models"
    found = result_of("scan", videos, "--data", data, "--workers", 1)
    assert (found["found"], found["usable"]) == (24, 24)
    result_of("split", "--data", data, "--fractions", 0.5, 0.25, 0.25, "--seed", 1)
    found = result_of("prepare", "--data", data, "--workers", 1)
    assert (found["written"], found["failed"]) == (24, 0)
    found = result_of("extract-flow", "--data", data, "--width", 18, "--height", 16)
    assert found["written"] == 24
    found = result_of(
        "features", "--data", data, "--backbone", "tiny", "--weights", "none", "--size", 32
    )
    assert found["written"] == 24
    train = ["train", "structured_attention_tiny", "--data", data, "--workdir", run, *TINY]
    found = result_of(*train)
    assert (found["epochs"], len(found["history"])) == (1, 1)
    assert result_of(*train, "--resume") == found
    found = result_of("evaluate", run, "--examples", 1)
    assert (found["subset"], found["videos"]) == ("test", 6)
    other = shutil.copy(run / "evaluation" / "test" / "scores.npz", tmp_path)
    weights, out = ("--weights", 1, "--weights", 2), tmp_path / "fused.npz"
    found = result_of("fuse", *weights, run, other, "--out", out)
    assert found["videos"] == 6
    found = result_of("export", run, models)
    assert (found["passed"], found["path"]) == (True, str(models / "1"))
    assert result_of("verify", models, "--run", run)["passed"] is True
    (found,) = result_of("predict", video, "--model", models, "--top-k", 2)["predictions"]
    assert (found["path"], len(found["guesses"])) == (str(video), 2)
    found = result_of("explain", video, "--model", models, "--out", tmp_path / "out.mp4")
    assert (found["frames"], found["paths"]) == (12, [str(tmp_path / "out.mp4")])
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_a_video_that_cannot_be_read_is_named_and_the_exit_code_is_3(
    json_of, capfd, tiny_data, tiny_run, tmp_path
):
    video = next((tiny_data.parent / "videos" / "left").iterdir())
    bad = tmp_path / "böse \udcff.mp4"
    bad.write_bytes(b"no video")
    code, found = json_of("predict", bad, video, "--model", tiny_run)
    assert code == 3
    assert [bool(one["problem"]) for one in found["predictions"]] == [True, False]

    assert main(["predict", str(bad), str(video), "--model", str(tiny_run)]) == 3
    printed = capfd.readouterr().out
    assert "\\udcff" in printed and f"{video} (12 frames)" in printed
    assert "% " in printed and "of the clips)" in printed


def test_scan_with_problems_names_them_and_exits_with_3(capfd, tiny_data, tmp_path):
    videos = shutil.copytree(tiny_data.parent / "videos" / "left", tmp_path / "videos" / "left")
    (videos / "broken.mp4").write_bytes(b"no video")
    code = main(["scan", str(videos.parent), "--data", str(tmp_path / "data"), "--workers", "1"])
    assert code == 3
    assert "broken.mp4" in capfd.readouterr().out


def test_the_recipes_are_listed(json_of, capfd):
    code, found = json_of("recipes")
    assert code == 0
    assert "structured_attention" in json.dumps(found)
    assert main(["list-recipes"]) == 0
    assert "structured_attention" in capfd.readouterr().out


def test_a_terminal_sees_results_and_no_noise(tiny_data, tiny_export):
    """TensorFlow writes when it starts, so this needs a fresh process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "PYTHONW"))}
    video = str(next((tiny_data.parent / "videos" / "up").iterdir()))
    found = subprocess.run(
        [sys.executable, "-m", "keras_attn", "predict", video, f"--model={tiny_export}"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert f"{video} (12 frames)" in found.stdout


def test_the_module_runs_as_the_command_does():
    found = subprocess.run(
        [sys.executable, "-m", "keras_attn", "--version"], capture_output=True, text=True
    )
    version = f"keras-attn {keras_attn.__version__}\n"
    assert (found.returncode, found.stdout, found.stderr) == (0, version, "")
