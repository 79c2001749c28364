"""Every verb of the command line: results, exit codes, JSON, and mistakes told in one line."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import keras_attn
from keras_attn import __version__
from keras_attn.cli.parser import _VERBS, main
from keras_attn.errors import UserError

TINY = ["--set", "clips.stride=3", "--set", "clips.frames=5", "--set", "clips.size=32"]
TINY += ["--set", "model.units=4", "--set", "epochs=1", "--set", "batch_size=8"]
NOISE = ("oneDNN", "WARNING: All log messages", "I0000", "cpu_feature_guard", "Traceback")


@pytest.fixture
def json_of(capsys):
    """Run a verb with `--json`; its exit code and the one object that it printed."""

    def run(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        assert printed.err == ""
        assert printed.out.count("\n") == 1 and printed.out.isascii()
        return code, json.loads(printed.out)

    return run


@pytest.fixture
def fails(capsys):
    """Run a verb that must fail; its exit code and the one line that it printed."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert code != 0
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return code, printed.err

    return run


@pytest.mark.slow
def test_the_verbs_one_after_the_other(json_of, tiny_data, tmp_path):
    videos = tiny_data.parent / "videos"
    data, run, models = tmp_path / "data", tmp_path / "run", tmp_path / "models"
    code, found = json_of("scan", videos, "--data", data, "--workers", 1)
    assert (code, found["found"], found["usable"]) == (0, 24, 24)
    code, found = json_of("split", "--data", data, "--fractions", 0.5, 0.25, 0.25, "--seed", 1)
    assert code == 0
    code, found = json_of("prepare", "--data", data, "--workers", 1)
    assert (code, found["written"], found["failed"]) == (0, 24, 0)
    code, found = json_of(
        "features", "--data", data, "--backbone", "tiny", "--weights", "none", "--size", 32
    )
    assert (code, found["written"], found["shape"][:2]) == (0, 24, [4, 4])
    code, found = json_of(
        "train", "structured_attention_tiny", "--data", data, "--workdir", run, *TINY
    )
    assert (code, found["epochs"], len(found["history"])) == (0, 1, 1)
    code, found = json_of("evaluate", run, "--examples", 1)
    assert (code, found["subset"], found["videos"]) == (0, "test", 6)
    code, found = json_of("export", run, models)
    assert (code, found["passed"], found["path"]) == (0, True, str(models / "1"))
    code, found = json_of("verify", models, "--run", run)
    assert (code, found["passed"]) == (0, True)


def test_predict_and_explain(json_of, capsys, tiny_data, tiny_run, tmp_path):
    video = next((tiny_data.parent / "videos" / "left").iterdir())
    bad = tmp_path / "böse \udcff.mp4"
    bad.write_bytes(b"no video")
    code, found = json_of("predict", video, "--model", tiny_run, "--top-k", 2)
    assert code == 0
    (prediction,) = found["predictions"]
    assert (prediction["path"], len(prediction["guesses"])) == (str(video), 2)
    code, found = json_of("predict", bad, video, "--model", tiny_run)
    assert code == 3
    assert [bool(one["problem"]) for one in found["predictions"]] == [True, False]

    assert main(["predict", str(bad), str(video), "--model", str(tiny_run)]) == 3
    printed = capsys.readouterr().out
    assert "\\udcff" in printed and f"{video} (12 frames)" in printed
    assert "% " in printed and "of the clips)" in printed

    code, found = json_of("explain", video, "--model", tiny_run, "--out", tmp_path / "out.mp4")
    assert (code, found["frames"], found["path"]) == (0, 12, str(tmp_path / "out.mp4"))
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_scan_with_problems_names_them_and_exits_with_3(capsys, tiny_data, tmp_path):
    videos = shutil.copytree(tiny_data.parent / "videos" / "left", tmp_path / "videos" / "left")
    (videos / "broken.mp4").write_bytes(b"no video")
    code = main(["scan", str(videos.parent), "--data", str(tmp_path / "data"), "--workers", "1"])
    assert code == 3
    assert "broken.mp4" in capsys.readouterr().out


MISTAKES = [
    ("scan {tmp}/none --data {tmp}/d", "none"),
    ("scan {tmp}/file --data {tmp}/d", "file"),
    ("scan {videos} --data {tmp}/file/d --workers 1", "file"),
    ("scan {videos} --data {tmp}/d --workers 0", "workers"),
    ("scan {videos} --data {tmp}/d --group-by (", "("),
    ("split --data {tmp}/none", "manifest.csv"),
    ("split --data {copy} --fractions 0.5 0.5 0.5", "fractions"),
    ("split --data {copy} --folds 1", "folds"),
    ("split --data {copy} --official {tmp}/none", "none"),
    ("prepare --data {tmp}/none", "manifest.csv"),
    ("prepare --data {copy} --quality 200", "quality"),
    ("prepare --data {copy} --short-side 0", "short"),
    ("features --data {tmp}/none --backbone tiny --weights none", "none"),
    ("features --data {copy} --backbone resnet", "no backbone 'resnet'; there are"),
    ("features --data {copy} --backbone tiny --weights {tmp}/no.h5", "no.h5"),
    ("features --data {copy} --recipe sta_cnn", "reads frames (cached=false)"),
    ('{train} --set multipliers={{"(":[1,1]}}', "multipliers must map"),
    ("train structured --data {data} --workdir {tmp}/r", "no recipe 'structured'; there are"),
    ("{train} --set epochs", "--set takes FIELD=VALUE"),
    ("{train} --set epoch=3", "no field 'epoch'"),
    ("{train} --set epochs=many", "epochs"),
    ("{train} --set model.attention=soft", "attention"),
    ("{train} --set model.heads=4", "no argument 'heads'"),
    ("{train} --set learning_rate=-1", "learning_rate"),
    ("{train} --fold 1", "not folds; drop --fold"),
    ("{train} --set cached=true", "cached features"),
    ("train structured_attention_tiny --data {data} --workdir {run}", "already holds a run"),
    ("train structured_attention_tiny --data {data} --workdir {data}", "not empty"),
    ("train structured_attention_tiny --data {tmp}/none --workdir {tmp}/r", "none"),
    ("train structured_attention_tiny --data {unsplit} --workdir {tmp}/r", "split.csv"),
    ("evaluate {tmp}/none", "holds no run"),
    ("evaluate {run} --subset tset", "no videos in the subset 'tset'"),
    ("evaluate {run} --examples -1", "at least 0"),
    ("predict {video} --model {tmp}/none", "no such folder"),
    ("predict {video} --model {tmp}/file", "no SavedModel"),
    ("predict {video} --model {run} --top-k 0", "top_k must be at least 1"),
    ("explain {video} --model {run} --out {tmp}/out.avi", "ends in .mp4"),
    ("explain {tmp}/none.mp4 --model {run} --out {tmp}/out.mp4", "none.mp4"),
    ("explain {video} --model {run} --out {tmp}/file/out.mp4", "file"),
    ("export {data} {tmp}/models", "holds no run"),
    ("export {run} {tmp}/file", "is not a folder"),
    ("verify {tmp}/none", "holds no SavedModel"),
    ("verify {data}", "holds no SavedModel"),
]


@pytest.fixture(scope="module")
def places(tiny_data, tiny_run, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("mistakes")
    (tmp / "file").write_text("")
    for name in ("copy", "unsplit"):
        shutil.copytree(tiny_data, tmp / name)
    (tmp / "unsplit" / "split.csv").unlink()
    videos = tiny_data.parent / "videos"
    found = {"tmp": tmp, "data": tiny_data, "run": tiny_run, "videos": videos}
    found |= {name: tmp / name for name in ("copy", "unsplit")}
    found["train"] = f"train structured_attention_tiny --data {tiny_data} --workdir {tmp}/new"
    return found | {"video": next((videos / "up").iterdir())}


@pytest.mark.parametrize(("command", "words"), MISTAKES)
def test_a_mistake_is_one_line_with_the_place_and_no_traceback(fails, places, command, words):
    code, message = fails(*command.format(**places).split())
    assert words in message
    assert code in (1, 2, 3)
    assert "KERAS_ATTN_TRACEBACK" not in message, "told as a mistake, not as an accident"


def test_exit_codes_tell_usage_from_data_from_failure(fails, places):
    for code, command in (
        (2, "{train} --set epochs=0"),
        (3, "prepare --data {tmp}/none"),
        (1, "verify {tmp}/none"),
    ):
        assert fails(*command.format(**places).split())[0] == code


def test_a_mistake_with_json_is_one_object_too(json_of, places):
    code, found = json_of("verify", places["tmp"] / "none")
    assert found == {"error": found["error"], "exit_code": code} and code == 1
    assert "holds no SavedModel" in found["error"]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["scan", "x", "--data"], ["--x"]])
def test_an_unknown_verb_or_option_is_a_matter_of_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: keras-attn" in capsys.readouterr().err


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: keras-attn {verb}") and "--json" in text
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"\n    {verb}" in capsys.readouterr().out


def test_the_recipes_are_listed(json_of, capsys):
    code, found = json_of("recipes")
    assert code == 0
    clips = found["structured_attention"]["clips"]
    assert (clips["sampling"], clips["frames"], clips["stride"]) == ("windows", 30, 2)
    code, lines = main(["recipes"]), capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(found)
    assert "vgg_16 (rgb), clips of 30 frames every 30, 30" in "\n".join(lines)
    assert "bn_inception (rgb), 9 segments a video, 50 epochs" in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ("inception_v3", None, None)),
        (["--recipe", "temporal_attention"], ("vgg_16", "fc6", 224)),
        (["--recipe", "structured_attention"], ("inception_v3", "mixed10", 299)),
        (["--recipe", "where_and_when", "--size", "64"], ("resnet_50", "stage5_relu", 64)),
        (["--recipe", "temporal_attention", "--backbone", "tiny"], ("tiny", "pooled", 224)),
        (["--recipe", "temporal_attention", "--endpoint", "x"], ("vgg_16", "x", 224)),
    ],
)
def test_features_are_those_that_a_recipe_reads(monkeypatch, arguments, wanted):
    seen = []

    def features(data, backbone, endpoint, size, **options):
        seen.append((backbone, endpoint, size))
        raise UserError("enough")

    monkeypatch.setattr(keras_attn, "features", features)
    assert main(["features", "--data", "x", *arguments]) == 1
    assert seen == [wanted]


def test_interruption_and_accidents_have_their_exit_codes(fails, monkeypatch, capsys):
    from keras_attn.cli import commands

    def raising(error):
        def verb(options, console):
            raise error

        monkeypatch.setattr(commands, "split", verb)

    raising(KeyboardInterrupt())
    code, message = fails("split", "--data", "x")
    assert (code, message.strip()) == (130, "error: stopped")
    raising(OSError(28, "No space left on device"))
    code, message = fails("split", "--data", "x")
    assert code == 1 and "No space left" in message and "KERAS_ATTN_TRACEBACK=1" in message
    monkeypatch.setenv("KERAS_ATTN_TRACEBACK", "1")
    with pytest.raises(OSError, match="No space left"):
        main(["split", "--data", "x"])


@pytest.mark.slow
def test_a_terminal_sees_results_and_no_noise(tiny_data, tiny_run, tiny_export, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "PYTHONW"))}
    video = str(next((tiny_data.parent / "videos" / "up").iterdir()))
    commands = {
        "--version": f"keras-attn {__version__}\n",
        f"predict {video} --model {tiny_export}": video,
        f"export {tiny_run} {tmp_path}/m": "answers as its run does",
        f"verify {tiny_export}": "answers as its run does",
    }
    for command, words in commands.items():
        found = subprocess.run(
            [sys.executable, "-m", "keras_attn", *command.split()],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert found.returncode == 0, found.stderr
        assert words in found.stdout
        assert not [word for word in NOISE if word in found.stderr], found.stderr
        assert found.stderr == ""
