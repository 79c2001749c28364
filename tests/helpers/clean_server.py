"""One clean process that verifies several exports: each would import TensorFlow again."""

import contextlib
import json
import subprocess
import sys
import types

import pytest

from keras_attn.serving import clean_process, verification

PROGRAM = """
import importlib.util, json, sys
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


@contextlib.contextmanager
def one_clean_process():
    """Inside `with`, `verification` asks one process again and again."""
    servers = []

    def run(command, *, env, **settings):
        isolation, script, *paths = command[1:]
        assert (isolation, script) == ("-I", clean_process.__file__)
        if not servers:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            server = [sys.executable, "-I", "-c", PROGRAM, script]
            servers.append(subprocess.Popen(server, env=env, stderr=subprocess.DEVNULL, **pipes))
        servers[0].stdin.write(json.dumps(paths) + "\n")
        servers[0].stdin.flush()
        problem = json.loads(servers[0].stdout.readline())
        return subprocess.CompletedProcess(command, int(problem is not None), "", problem or "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "subprocess", types.SimpleNamespace(run=run))
        try:
            yield
        finally:
            for server in servers:
                server.stdin.close()
                server.wait()
                server.stdout.close()
