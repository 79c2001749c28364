"""A mistake of the user is told in one line, with an exit code that says of which kind it is."""

import re
import shlex
import shutil

import pytest

from keras_attn.cli.parser import _parser, main

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
    ("features --data {copy} --from {tmp}/none", "none: no such folder"),
    ("features --data {copy} --from {videos}", "provenance.json: no such file; docs/features.md"),
    (
        "features --data {copy} --from {tmp} --size 3",
        "--from imports features that are there, so -",
    ),
    ("{train} --set backbone=features:mine", "Make them with: keras-attn features --from FOLDER"),
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
    ("predict {video} --model {run} --top-k 0", "--top-k must be at least 1"),
    ("explain {video} --model {run} --out {tmp}/out.avi", "an overlay (.mp4) or its maps (.npz)"),
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
    for remedy in re.findall(r"with: keras-attn ([^(\n]+)", message):
        _parser().parse_args(shlex.split(remedy))


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: VERB"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "required: RECIPE, --data, --workdir"),
        (["scan", "x", "--data"], "expected one argument"),
        (["split", "--data", "x", "--folds", "two"], "--folds: invalid int value: 'two'"),
        (["split", "--data", "x", "--level", "frame"], "choose from"),
        (["flow", "data"], "required: --data"),
        (["--x"], "required: VERB"),
    ],
)
def test_an_unknown_verb_or_option_is_an_error_of_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "usage: keras-attn" in printed and words in printed
