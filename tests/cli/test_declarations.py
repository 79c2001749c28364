"""The options of the command line are the parameters of the functions."""

import collections.abc
import inspect
import types
import typing

import pytest

import keras_attn
from keras_attn.cli import declarations


def parts(annotation):
    """The members of a union, without what may stand for a plain value (paths and objects)."""
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if union else (annotation,)


def several(annotation):
    """How many values an annotation allows, as argparse writes it, and the type of each."""
    for part in parts(annotation):
        if typing.get_origin(part) is tuple:
            return len(typing.get_args(part)), typing.get_args(part)[0]
        if typing.get_origin(part) in (list, collections.abc.Sequence):
            return "+", typing.get_args(part)[0]
    return None, annotation


def kind(annotation):
    for plain in (dict, bool, float, int):
        if any(plain in (part, typing.get_origin(part)) for part in parts(annotation)):
            return plain
    return str


@pytest.mark.parametrize("function", keras_attn._VERBS)
def test_a_declaration_agrees_with_the_signature_of_the_function(function):
    verb = declarations.read(function)
    signature = dict(inspect.signature(getattr(keras_attn, function)).parameters)
    assert verb.takes_progress == (signature.pop("progress", None) is not None)
    assert list(verb.parameters) == list(signature)
    for name, declared in signature.items():
        read = verb.parameters[name]
        assert (read.default, type(read.default)) == (declared.default, type(declared.default))
        count, item = several(declared.annotation)
        choices = [part for part in parts(item) if typing.get_origin(part) is typing.Literal]
        assert (read.count, read.kind) == (count, kind(item)), name
        assert read.choices == (typing.get_args(choices[0]) if choices else ())
        assert read.optional == (types.NoneType in parts(declared.annotation))
        assert read.repeated == (not read.positional and (count == "+" or read.kind is dict))


@pytest.mark.parametrize("function", keras_attn._VERBS)
def test_every_parameter_is_explained(function):
    verb = declarations.read(function)
    assert verb.summary
    unexplained = [name for name, parameter in verb.parameters.items() if not parameter.help]
    assert not unexplained


@pytest.fixture
def verb():
    names = {"files": ("+", str), "official_split": (None, int), "resume": (None, bool)}
    names |= {"changes": (None, dict), "level": (None, str), "fold": (None, int)}
    parameters = {}
    for name, (count, kind) in names.items():
        default = declarations.REQUIRED if name == "files" else None
        parameters[name] = declarations.Parameter(name, kind, default, count=count)
    return declarations.Verb("some_verb", "Summary", parameters, takes_progress=False)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("drop `fold`", "drop --fold"),
        ("go on (`resume=True`)", "go on (--resume)"),
        ("use `official_split=2`", "use --official-split 2"),
        ('use `level="clip"`', "use --level clip"),
        ("give `changes`", "give --set"),
        (
            'use `changes={"cached": False, "model.attention": "none"}`',
            "use --set cached=false --set model.attention=none",
        ),
        ("`files` are missing", "FILE are missing"),
        ("the column `reason` of `other=3`", "the column `reason` of `other=3`"),
        ("`level=group`, not a literal", "--level group, not a literal"),
    ],
)
def test_arguments_in_messages_become_options(verb, text, wanted):
    assert verb.in_options(text) == wanted


def test_the_first_sentence_of_an_entry_is_the_help():
    docstring = inspect.cleandoc(
        """Do it.

        Args:
            first: Pixels, e.g. 256, of 0.5 or more. Then more is said.
            second: A text over
                two lines

            third: Last one.

        Returns:
            fourth: Not an argument.
        """
    )
    assert declarations._arguments(docstring) == {
        "first": "Pixels, e.g. 256, of 0.5 or more",
        "second": "A text over two lines",
        "third": "Last one",
    }
    assert declarations._arguments("Do it.") == {}
