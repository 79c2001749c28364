"""Train in child processes that are killed at random moments, until the training is done.

    python killed_training.py small DATA WORKDIR KILLS SEED

`small` may be another module here that has a `train(data, workdir, progress, finish)`, which begins
or resumes and calls `finish` before it writes its result, for at least `WRITING` seconds. The
parent imports TensorFlow once and never uses it; each child is a fork that trains, as a process
that starts from nothing would, and writes one byte for each event. Prints how many children were
killed, and at which events.
"""

import importlib
import os
import random
import signal
import sys
import time


def child(train, data, workdir, pipe):
    def told(byte):
        return lambda *event: os.write(pipe, byte)

    train(data, workdir, progress=told(b"."), finish=told(b"f"))
    os._exit(0)


def attempt(train, data, workdir, kill_at, wait):
    """Events seen, and whether the child was killed: `wait` seconds after event `kill_at`."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            child(train, data, workdir, writer)
        finally:
            os._exit(1)
    os.close(writer)
    events = b""
    while not events.endswith(kill_at) and (byte := os.read(reader, 1)):
        events += byte
    time.sleep(wait)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(reader)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a child failed after the events {events}")
    return events.decode(), os.WIFSIGNALED(status)


def main(module, data, workdir, kills, seed):
    random.seed(int(seed))
    module = importlib.import_module(module)
    train, killed = module.train, []
    for number in range(int(kills)):
        # The last two fall into the writing of the model, the others near a step's checkpoint.
        last = number >= int(kills) - 2
        kill_at = b"f" if last else b"." * random.randint(1, 6)
        wait = random.uniform(0, module.WRITING if last else 0.03)
        events, dead = attempt(train, data, workdir, kill_at, wait)
        killed += [events] if dead else []
    events, dead = attempt(train, data, workdir, b"never", 0)
    print(len(killed), *killed, events, sep="|")


if __name__ == "__main__":
    main(*sys.argv[1:])
