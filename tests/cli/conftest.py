"""Run a verb in this process and look at what it printed."""

import json

import pytest

from keras_attn.cli.parser import main


@pytest.fixture
def json_of(capfd):
    """Run a verb with `--json`; return its exit code and the one object that it printed."""

    def run(*arguments):
        capfd.readouterr()
        code = main([*map(str, arguments), "--json"])
        printed = capfd.readouterr()
        assert printed.err == ""
        assert printed.out.count("\n") == 1 and printed.out.isascii()
        return code, json.loads(printed.out)

    return run


@pytest.fixture
def fails(capsys):
    """Run a verb that must fail; return its exit code and the one line that it printed."""

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
