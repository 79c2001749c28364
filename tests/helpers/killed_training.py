"""Train in child processes that are killed at random moments, until the run is done.

    python killed_training.py DATA WORKDIR KILLS SEED

The parent imports TensorFlow once and never uses it; each child is a fork that begins or resumes
the run, as a process that starts from nothing would, and writes one byte for each event. Prints
how many children were killed, and at which events.
"""

import os
import random
import signal
import sys
import time

import small

from keras_attn.training import train


def child(data, workdir, pipe):
    finish = train._finish

    def announced(*arguments):
        os.write(pipe, b"f")
        finish(*arguments)

    train._finish = announced
    train.train(
        small.SMALL,
        data,
        workdir,
        resume=True,
        checkpoint_seconds=0,
        progress=lambda event: os.write(pipe, b"."),
    )
    os._exit(0)


def attempt(data, workdir, kill_at, wait):
    """Events seen, and whether the child was killed: `wait` seconds after event `kill_at`."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            child(data, workdir, writer)
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


def main(data, workdir, kills, seed):
    random.seed(int(seed))
    killed = []
    for number in range(int(kills)):
        # The last two fall into the writing of the model, the others near a step's checkpoint.
        last = number >= int(kills) - 2
        kill_at = b"f" if last else b"." * random.randint(1, 6)
        events, dead = attempt(data, workdir, kill_at, random.uniform(0, 0.3 if last else 0.03))
        killed += [events] if dead else []
    events, dead = attempt(data, workdir, b"never", 0)
    print(len(killed), *killed, events, sep="|")


if __name__ == "__main__":
    main(*sys.argv[1:])
