"""Run folders: never overwritten, resumed only with the same settings, each difference named."""

import dataclasses
import json

import pytest
from small import SMALL

from keras_attn.errors import UserError
from keras_attn.training import runs

FACTS = {"classes": ["a", "b"], "fold": None, "input": {"shape": [2, 3], "size": 32}}


def begun(path, recipe=SMALL, facts=FACTS):
    run = runs.claim(path, recipe, facts, resume=False)
    runs.begin(run)
    return run


def test_a_run_is_recorded_and_read_back(tmp_path):
    prepared = runs.claim(tmp_path / "run", SMALL, FACTS, resume=False)
    assert not (tmp_path / "run").exists()
    runs.begin(prepared)
    run = runs.open_run(tmp_path / "run")
    assert run == prepared
    assert run.recipe == SMALL and run.classes == ["a", "b"] and not run.finished()
    assert {"tensorflow", "keras", "python", "keras_attn"} <= set(run.facts["versions"])


def test_an_occupied_folder_is_refused(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(UserError, match=r"run: already holds a run.*`resume=True`"):
        runs.claim(tmp_path / "run", SMALL, FACTS, resume=False)
    (tmp_path / "file").write_text("x")
    for resume in (True, False):
        with pytest.raises(UserError, match="is not empty and holds no run"):
            runs.claim(tmp_path, SMALL, FACTS, resume=resume)
        with pytest.raises(UserError, match="is a file"):
            runs.claim(tmp_path / "file", SMALL, FACTS, resume=resume)


def test_resume_goes_on_or_begins(tmp_path):
    run = begun(tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    again = runs.claim(tmp_path / "run", SMALL, FACTS, resume=True)
    runs.begin(again)
    assert again == run and (tmp_path / "run" / "run.json").read_bytes() == before
    # A run that was killed before it wrote anything, or while it wrote its first file.
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".0123abcd-run.json").write_text("{")
    assert runs.claim(tmp_path / "early", SMALL, FACTS, resume=True).recipe == SMALL
    # The lock decides who may remove it: another process may be writing that file now.
    assert [p.name for p in (tmp_path / "early").iterdir()] == [".0123abcd-run.json"]


def changed(**arguments):
    return dataclasses.replace(SMALL, arguments=arguments)


DIFFERENCES = {
    "recipe.epochs: was 2, is 3": (dataclasses.replace(SMALL, epochs=3), FACTS),
    "recipe.arguments.units: was 6, is 7": (changed(**{**SMALL.arguments, "units": 7}), FACTS),
    "recipe.arguments.units: was 6, is absent": (changed(dropout=0.3, penalty=0.01), FACTS),
    "recipe.arguments.block: was absent, is 1": (changed(**SMALL.arguments, block=1), FACTS),
    "fold: was None, is 0": (SMALL, FACTS | {"fold": 0}),
    "input.size: was 32, is 64": (SMALL, FACTS | {"input": {"shape": [2, 3], "size": 64}}),
    "classes: was ['a', 'b'], is ['b', 'a']": (SMALL, FACTS | {"classes": ["b", "a"]}),
}


@pytest.mark.parametrize("message", DIFFERENCES)
def test_other_settings_are_refused_by_name(tmp_path, message):
    recipe, facts = DIFFERENCES[message]
    begun(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        runs.claim(tmp_path / "run", recipe, facts, resume=True)
    assert f"{tmp_path / 'run'}: cannot resume" in str(caught.value)
    assert f"different settings. {message}. " in str(caught.value)


def test_tuples_are_lists(tmp_path):
    begun(tmp_path / "run")
    same = FACTS | {"input": {"shape": (2, 3), "size": 32}}
    assert runs.claim(tmp_path / "run", SMALL, same, resume=True).recipe == SMALL


def test_other_versions_do_not_resume(tmp_path):
    begun(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    facts = json.loads(path.read_text())
    facts["versions"]["keras"] = "0"
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="versions.keras: was '0', is"):
        runs.claim(tmp_path / "run", SMALL, FACTS, resume=True)


def test_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        runs.open_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: is not valid JSON"):
        runs.open_run(tmp_path)
