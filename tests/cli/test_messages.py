"""Messages of the library name arguments, and the commands in them exist."""

import ast
import re
from pathlib import Path

import keras_attn
from keras_attn.cli import declarations
from keras_attn.cli.parser import SHORT_FORMS

PACKAGE = Path(keras_attn.__file__).parent
COMMAND = re.compile(r"\bkeras-attn ([a-z][a-z-]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*(?![\w:(-])")


def texts():
    """Every text in the package with its place; a formatted one as it is written."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "cli":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        pieces = {piece for node in formatted for piece in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield f"{path}:{node.lineno}", ast.unparse(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node not in pieces:
                    yield f"{path}:{node.lineno}", node.value


def test_messages_name_arguments_and_not_options():
    named = [
        f"{place}: {text}"
        for place, text in texts()
        if " " in text and OPTION.search(text) and not re.search("keras-attn |pip install", text)
    ]
    assert not named


def test_commands_in_messages_are_verbs():
    verbs = {declarations.read(function).name for function in keras_attn._VERBS}
    verbs |= set(SHORT_FORMS.values())
    unknown = [f"{place}: {text}" for place, text in texts() if set(COMMAND.findall(text)) - verbs]
    assert not unknown
