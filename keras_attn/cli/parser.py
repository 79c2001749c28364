"""The command line: `keras-attn VERB`, one verb for each public function of the package."""

import argparse
import contextlib
import json
import os
import sys
import warnings

import keras_attn
from keras_attn.cli import declarations
from keras_attn.errors import UsageError, UserError

SHORT_FORMS = {
    "extract_flow": "flow",
    "score_trajectories": "trajectories",
    "list_recipes": "recipes",
}
FAILURE, PROBLEMS, INTERRUPTED = 1, 3, 130
_warned = set()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes, not its errors


def main(arguments=None) -> int:
    """Run one verb; 0 ok, 1 failure, 2 usage, 3 problems in the data, 130 interrupted."""
    options = vars(_parser().parse_args(arguments))
    verb, as_json, quiet = (options.pop(name) for name in ("verb", "json", "quiet"))
    from keras_attn.cli.console import Console

    warnings.showwarning = _warn
    try:
        return _run(verb, options, Console(as_json, quiet))
    except UserError as error:
        return _fail(verb.in_options(str(error)), error.exit_code, as_json)
    except KeyboardInterrupt:
        more = "; continue with --resume" if "resume" in verb.parameters else ""
        return _fail(f"stopped{more}", INTERRUPTED, as_json)
    except Exception as error:  # whatever it is, a user is told in words
        if os.environ.get("KERAS_ATTN_TRACEBACK"):
            raise
        text = str(error) if isinstance(error, OSError | ValueError) else _first_line(error)
        return _fail(f"{text} (KERAS_ATTN_TRACEBACK=1 shows where)", FAILURE, as_json)


def _run(verb, options, console):
    """Call the function of `verb` and show its result."""
    values = {name: _value(verb.parameters[name], value) for name, value in options.items()}
    function = console.load(verb.function)
    with contextlib.ExitStack() as stack:
        if verb.takes_progress:
            values["progress"] = stack.enter_context(console.progress(verb.name))
        result = function(**values)
    console.show(result.lines(), result.as_dict())
    if not getattr(result, "passed", True):
        return FAILURE
    return PROBLEMS if getattr(result, "problems", ()) else 0


def _value(parameter, value):
    """A value as the function takes it."""
    if parameter.kind is dict:
        for change in value:
            if "=" not in change:
                raise UsageError(f"--set takes FIELD=VALUE, as in clips.frames=16, got {change!r}")
        return dict(change.split("=", 1) for change in value)
    return tuple(value) if isinstance(parameter.count, int) else value


def _warn(message, category, *place):
    """Show a warning for the user once, as one line; leave out those for programmers."""
    if category is UserWarning and str(message) not in _warned:
        _warned.add(str(message))
        sys.stderr.write(f"warning: {message}\n")


def _fail(message, code, as_json):
    if as_json:
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}) + "\n")
    else:
        sys.stderr.write(f"error: {message}\n")
    return code


def _first_line(error):
    """The kind and the first line of an error that no one expected."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-attn",
        description="Attention-based human action recognition in video: what, where and when.",
        epilog="keras-attn VERB --help explains a verb. "
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 problems in the data, 130 interrupted.",
        add_help=False,
    )
    version = f"keras-attn {keras_attn.__version__}"
    parser.add_argument("-h", "--help", action="help", help="Show this help")
    parser.add_argument("--version", action="version", version=version, help="Show the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for function in keras_attn._VERBS:
        verb = declarations.read(function)
        summary = _plain(verb, verb.summary)
        aliases = [SHORT_FORMS[function]] if function in SHORT_FORMS else []
        command = verbs.add_parser(
            verb.name, aliases=aliases, help=summary, description=summary, add_help=False
        )
        command.set_defaults(verb=verb)
        required = command.add_argument_group("required options")
        options = command.add_argument_group("options")
        for parameter in verb.parameters.values():
            group = required if parameter.required else options
            keys = _keys(parameter) | {"help": _help(verb, parameter)}
            if parameter.positional:
                command.add_argument(parameter.name, **keys)
            else:
                group.add_argument(parameter.option, dest=parameter.name, **keys)
        options.add_argument("--json", action="store_true", help="Print the result as JSON")
        options.add_argument("--quiet", action="store_true", help="Show no progress")
        options.add_argument("-h", "--help", action="help", help="Show this help")
    return parser


def _keys(parameter):
    """Keyword arguments of `add_argument` for a parameter."""
    if parameter.kind is bool:
        return {"action": "store_true"}
    if parameter.kind is dict:
        return {"action": "append", "metavar": "FIELD=VALUE", "default": argparse.SUPPRESS}
    keys = {"type": parameter.kind, "nargs": parameter.count, "metavar": parameter.metavar}
    if parameter.repeated:
        keys |= {"action": "append", "nargs": None}
    if parameter.choices:
        keys |= {"choices": parameter.choices, "metavar": None}
    if parameter.required:
        return keys if parameter.positional else keys | {"required": True}
    if parameter.kind is str and parameter.optional and parameter.default is not None:
        keys["type"] = _text_or_none
    return keys | {"default": parameter.default}


def _help(verb, parameter):
    text = _plain(verb, parameter.help)
    if parameter.repeated:
        text = f"{text} (repeat the option for several)"
    if parameter.required or parameter.default is None or parameter.kind is bool:
        return text
    return f"{text} (default: {_text(parameter.default)})"


def _plain(verb, text):
    """Text of a docstring as argparse shows it, with functions in backticks as commands."""
    text = verb.in_options(text)
    for function in keras_attn._VERBS:
        text = text.replace(f"`{function}`", f"keras-attn {function.replace('_', '-')}")
    return text.replace("`", "").replace("%", "%%")


def _text(default):
    return " ".join(map(str, default)) if isinstance(default, tuple) else default


def _text_or_none(text):
    return None if text.lower() == "none" else text


if __name__ == "__main__":
    sys.exit(main())
