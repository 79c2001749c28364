"""Help texts, the values that reach the functions, and what becomes of their errors."""

import pytest

import keras_attn
from keras_attn.cli import declarations
from keras_attn.cli.parser import SHORT_FORMS, main
from keras_attn.errors import UsageError


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("function", keras_attn._VERBS)
def test_every_verb_explains_itself(function, capsys):
    verb = declarations.read(function)
    text = help_of(capsys, verb.name)
    assert text.startswith(f"usage: keras-attn {verb.name} ")
    assert "`" not in text and verb.summary.split()[0] in text
    for option in [*(parameter.option for parameter in verb.parameters.values()), "--json"]:
        assert f"\n  {option}" in text
    for name in {verb.name, SHORT_FORMS.get(function, verb.name)}:
        assert f"{name} " in help_of(capsys)


def test_help_shows_defaults_and_choices(capsys):
    text = " ".join(help_of(capsys, "split").split())
    assert "(default: 0.7 0.15 0.15)" in text and "(default: 0)" in text
    assert "--level {group,clip}" in text
    assert "as keras-attn list-recipes shows them" in " ".join(help_of(capsys, "train").split())


@pytest.mark.parametrize("short", SHORT_FORMS.values())
def test_verbs_have_short_forms(short, capsys):
    long = next(function for function, name in SHORT_FORMS.items() if name == short)
    assert help_of(capsys, short).split()[2:] == help_of(capsys, long.replace("_", "-")).split()[2:]


@pytest.fixture
def received(monkeypatch):
    """Replace a verb by a function that keeps its arguments; return a function that calls it."""

    class Result:
        lines, as_dict = staticmethod(list), staticmethod(dict)

    def call(function, *arguments):
        options = {}

        def verb(**received):
            options.update(received)
            return Result

        monkeypatch.setattr(keras_attn, function, verb)
        assert main([declarations.read(function).name, *arguments]) == 0
        return options

    return call


def test_values_reach_the_function_as_it_takes_them(received):
    found = received("split", "--data", "x", "--fractions", ".5", ".25", ".25")
    assert found["fractions"] == (0.5, 0.25, 0.25)
    assert (found["data"], found["folds"], found["force"]) == ("x", None, False)
    found = received("features", "--data", "x", "--weights", "None", "--size", "64")
    assert (found["weights"], found["size"]) == (None, 64)
    assert received("features", "--data", "x")["weights"] == "imagenet"
    train = ["r", "--data", "x", "--workdir", "y"]
    found = received("train", *train, "--set", "a.b=1", "--set", "c=x=y", "--resume")
    assert (found["recipe"], found["changes"]) == ("r", {"a.b": "1", "c": "x=y"})
    assert found["resume"] is True
    assert not received("train", *train).get("changes")
    found = received("export", "--weights", "1", "--weights", "2.5", "one", "two", "to")
    assert (found["run"], found["destination"]) == (["one", "two"], "to")
    assert found["weights"] == [1.0, 2.5]
    found = received("predict", "--model", "one", "--model", "two", "a.mp4", "b.mp4")
    assert (found["model"], found["videos"]) == (["one", "two"], ["a.mp4", "b.mp4"])


def test_interruption_and_accidents_have_their_exit_codes(fails, monkeypatch):
    def raising(verb, error):
        def function(**options):
            raise error

        monkeypatch.setattr(keras_attn, verb, function)

    raising("split", KeyboardInterrupt())
    code, message = fails("split", "--data", "x")
    assert (code, message.strip()) == (130, "error: stopped")
    raising("train", KeyboardInterrupt())
    code, message = fails("train", "r", "--data", "x", "--workdir", "y")
    assert (code, message.strip()) == (130, "error: stopped; continue with --resume")
    raising("split", UsageError("drop `fold`, or use `folds=2`"))
    code, message = fails("split", "--data", "x")
    assert (code, message.strip()) == (2, "error: drop `fold`, or use --folds 2")
    raising("split", OSError(28, "No space left on device"))
    code, message = fails("split", "--data", "x")
    assert code == 1 and "No space left" in message and "KERAS_ATTN_TRACEBACK=1" in message
    monkeypatch.setenv("KERAS_ATTN_TRACEBACK", "1")
    with pytest.raises(OSError, match="No space left"):
        main(["split", "--data", "x"])
