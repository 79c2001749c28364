"""The options of each verb, read from the signature and the docstring of its function.

The source is parsed and not imported, because help and usage errors must not wait for TensorFlow.
"""

import ast
import functools
import inspect
import json
import re
from dataclasses import dataclass
from pathlib import Path

import keras_attn

# Parameters without a default that are positional on the command line; the others are options.
POSITIONAL = {"root", "recipe", "run", "files", "videos", "video", "saved_model", "destination"}
QUOTES = "'\""
REQUIRED = inspect.Parameter.empty
_ROOT = Path(keras_attn.__file__).parent


@dataclass(frozen=True)
class Parameter:
    """One parameter of a verb.

    `kind` is str, int, float, bool or dict; `count` is None for one value, a number of values, or
    "+" for one or more.
    """

    name: str
    kind: type
    default: object
    choices: tuple = ()
    count: int | str | None = None
    optional: bool = False
    help: str = ""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def positional(self) -> bool:
        return self.required and self.name in POSITIONAL

    @property
    def repeated(self) -> bool:
        """Whether the option is given once for each value: otherwise it would take the positional
        arguments that follow it for values."""
        return self.kind is dict or self.count == "+" and not self.positional

    @property
    def metavar(self) -> str:
        """The placeholder of a value in help texts."""
        if self.kind in (int, float):
            return {int: "N", float: "X"}[self.kind]
        name = self.name.rstrip("_").upper()
        return name.removesuffix("S") if self.count else name

    @property
    def option(self) -> str:
        """How the command line names it; `from_`, since `from` is a keyword, as --from."""
        if self.positional:
            return self.metavar
        if self.kind is dict:
            return "--set"
        return "--" + self.name.rstrip("_").replace("_", "-")

    def with_value(self, value: str) -> str:
        """The option that passes `value`, given as Python source."""
        if self.kind is bool:
            return self.option if value == "True" else f"no {self.option}"
        if self.kind is dict:
            changes = ast.literal_eval(value).items()
            return " ".join(f"{self.option} {field}={_text(new)}" for field, new in changes)
        return f"{self.option} {value.strip(QUOTES)}"


def _text(value) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Verb:
    """A public function as the command line shows it."""

    function: str
    summary: str
    parameters: dict[str, Parameter]
    takes_progress: bool

    @property
    def name(self) -> str:
        return self.function.replace("_", "-")

    def in_options(self, text: str) -> str:
        """`text` with the parameters that it names in backticks written as options."""

        def option(match):
            parameter = self.parameters.get(match[1])
            if parameter is None:
                return match[0]
            return parameter.option if match[2] is None else parameter.with_value(match[2])

        return re.sub(r"`(\w+)(?:=([^`]+))?`", option, text)


@functools.cache
def read(function: str) -> Verb:
    """The declaration of one public function of the package."""
    source, node = _source(keras_attn._VERBS[function]).find(function)
    docstring = ast.get_docstring(node) or ""
    helps = _arguments(docstring)
    given = node.args.posonlyargs + node.args.args
    missing = [REQUIRED] * (len(given) - len(node.args.defaults))
    defaults = [*missing, *node.args.defaults, *node.args.kw_defaults]
    parameters = {
        argument.arg: _parameter(source, argument, default, helps.get(argument.arg, ""))
        for argument, default in zip([*given, *node.args.kwonlyargs], defaults, strict=True)
    }
    takes_progress = parameters.pop("progress", None) is not None
    summary = docstring.partition("\n")[0].removesuffix(".")
    return Verb(function, summary, parameters, takes_progress)


def _parameter(source, argument, default, text):
    kinds = dict(source.alternatives(argument.annotation))
    several = next((kinds[name] for name in ("Sequence", "list", "tuple") if name in kinds), None)
    count = None
    if several is not None:
        count = len(several) if "tuple" in kinds else "+"
        kinds |= dict(source.alternatives(several[0])) if several else {}
    known = {"dict": dict, "bool": bool, "float": float, "int": int}
    return Parameter(
        name=argument.arg,
        kind=next((kind for name, kind in known.items() if name in kinds), str),
        default=default if default is REQUIRED else source.value(default),
        choices=tuple(source.value(choice) for choice in kinds.get("Literal", ())),
        count=count,
        optional="None" in kinds,
        help=text,
    )


def _arguments(docstring: str) -> dict[str, str]:
    """The first sentence about each argument in a Google-style docstring."""
    found = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", docstring, re.M)
    entries = re.findall(r"^ {4}(\w+):((?:.*\n?)(?: {8}.*\n?)*)", found[1] if found else "", re.M)
    texts = {name: " ".join(text.split()) for name, text in entries}
    return {
        name: re.split(r"(?<!e\.g)(?<!i\.e)\.(?:\s|$)", text)[0] for name, text in texts.items()
    }


class _Source:
    """The syntax tree of one module, in which names are looked up, if need be by its imports."""

    def __init__(self, tree):
        self.tree = tree

    def find(self, name: str):
        """The module and the node that define `name`; None for a name from outside the package."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_attn"):
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        return _source(node.module).find(alias.name)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                return self, node
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return self, node.value
        return None

    def alternatives(self, node) -> list[tuple[str, list]]:
        """The types of an annotation: `("str", [])` and `("None", [])` of `str | None`."""
        if isinstance(node, ast.BinOp):
            return self.alternatives(node.left) + self.alternatives(node.right)
        if isinstance(node, ast.Subscript):
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return [(ast.unparse(node.value).removeprefix("typing."), items)]
        found = self.find(node.id) if isinstance(node, ast.Name) else None
        if found and not isinstance(found[1], ast.ClassDef):
            return found[0].alternatives(found[1])
        return [(ast.unparse(node) if node else "str", [])]

    def value(self, node):
        """The value of a default or a choice: a literal, or the name of one."""
        if isinstance(node, ast.Name):
            source, node = self.find(node.id)
            return source.value(node)
        return ast.literal_eval(node)


@functools.cache
def _source(module: str) -> _Source:
    path = _ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return _Source(ast.parse(file.read_text(encoding="utf-8")))
