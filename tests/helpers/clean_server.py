"""One clean process that verifies several exports: each would import TensorFlow again."""

import contextlib
import functools
import json
import subprocess
import sys
import types

import pytest

from keras_attn.serving import clean_process, verification

# Every signature is asked twice, which does not repay what optimizing its graph takes.
PROGRAM = """
import functools, importlib.util, json, sys
sys.modules["keras_attn"] = sys.modules["keras"] = None
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
plain = tf.compat.v1.ConfigProto()
plain.graph_options.rewrite_options.disable_meta_optimizer = True
tf.compat.v1.Session = functools.partial(tf.compat.v1.Session, config=plain)
spec = importlib.util.spec_from_file_location("clean_process", sys.argv[1])
process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(process)
for line in sys.stdin:
    problem = None
    try:
        process.main(*json.loads(line))
    except BaseException as error:
        problem = str(error)
    print(json.dumps(problem), flush=True)
"""


@functools.cache
def _server(script):
    """The process, which ends with this one: its input is then closed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-I", "-c", PROGRAM, script]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)


def _run(command, **settings):
    isolation, script, *paths = command[1:]
    assert (isolation, script) == ("-I", clean_process.__file__)
    server = _server(script)
    server.stdin.write(json.dumps(paths) + "\n")
    server.stdin.flush()
    problem = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(command, int(problem is not None), "", problem or "")


@contextlib.contextmanager
def one_clean_process():
    """Inside `with`, `verification` asks one process again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "subprocess", types.SimpleNamespace(run=_run))
        yield
