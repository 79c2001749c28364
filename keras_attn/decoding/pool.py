"""Decoding workers and their guardian: one process per worker, killed when it takes too long."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import keras_attn
from keras_attn.decoding import SIZE_BYTES
from keras_attn.decoding.damage import Problem, out_of_memory
from keras_attn.errors import UsageError, UserError
from keras_attn.utils.process import processors

MINIMUM_MEMORY = 512 * 2**20  # Python, NumPy and FFmpeg alone map about 250 MB
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Unusable(Exception):
    """The file of a request cannot be used; its text says why, and what to do."""


class _Broken(Exception):
    """The process ended, or sent what no worker sends."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The outcome of one request: `info`, the `result`, and a `reason` if the file has none."""

    request: dict
    info: dict
    result: object = None
    reason: str = ""


class Parts:
    """The parts of an answer as they come, each `bytes`; after the last one `info` is complete.

    At the end raises `Unusable` when the file cannot be used.
    """

    def __init__(self, stream, maximum: int):
        self.info: dict = {}
        self.ended = False
        self._stream, self._maximum = stream, maximum

    def __iter__(self):
        while size := int.from_bytes(self._read(SIZE_BYTES), "little"):
            if size > self._maximum:  # not from memory that the worker may have
                raise _Broken
            yield self._read(size)
        try:
            header = json.loads(self._stream.readline(self._maximum))
            self.info, problem = header["info"], header["problem"]
        except (OSError, ValueError, KeyError, TypeError):
            raise _Broken from None
        self.ended = True
        if problem:
            raise Unusable(problem)

    def _read(self, size):
        try:
            part = self._stream.read(size)
        except (OSError, ValueError):
            part = b""
        if len(part) != size:
            raise _Broken
        return part


def _together(request, parts):
    return tuple(parts)


class Worker:
    """One decoding process; it is started when first asked, and again after it died."""

    def __init__(self, memory_bytes: int, timeout: float):
        self.memory_bytes, self.timeout = memory_bytes, timeout
        self.decoder = ""
        self.process = None
        self.ended = False

    def ask(self, request: dict, consume=_together) -> Answer:
        """Answer one request, whatever the file does to the process.

        `consume` is called with the request and its `Parts`, reads all of these, and gives the
        result. Its own errors are raised.
        """
        if self.process is None or self.process.poll() is not None:
            self.start()
        late = threading.Event()
        timer = threading.Timer(self.timeout, self._kill, [self.process, late])
        timer.daemon = True
        timer.start()
        parts = Parts(self.process.stdout, self.memory_bytes)
        try:
            self._send(request)
            result = consume(request, parts)
            return Answer(request, parts.info, result)
        except _Broken:
            return Answer(request, {}, reason=self._exit_reason(late))
        except Unusable as error:
            return Answer(request, parts.info, reason=str(error))
        finally:
            timer.cancel()
            if late.is_set() or not parts.ended:  # the rest of it must not answer the next request
                self.close()

    def start(self) -> None:
        """Start the process; `UserError` if it does not come up."""
        self.close()
        # The package may be run from a checkout: the child must find the very same one. "-P" keeps
        # the current folder, which can hold some other av.py, off the path.
        root = str(Path(keras_attn.__file__).parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment |= dict.fromkeys(_ONE_THREAD, "1")
        command = [sys.executable, "-P", "-m", "keras_attn.decoding.worker", str(self.memory_bytes)]
        with tempfile.TemporaryFile() as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
            if self.ended:  # while this one was started, so that `kill` did not see it
                self.process.kill()
            first = self.process.stdout.readline()
            if not first:
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                self.close()
                raise UserError(
                    f"a decoding worker could not start with {self.memory_bytes / 2**30:.2f} GiB "
                    f"of memory: {' '.join(last) or 'no message'}. Allow it more memory "
                    "(`memory_gib`), or check that `python -c 'import av'` works."
                )
        self.decoder = json.loads(first)["decoder"]

    def _send(self, request):
        line = json.dumps({**request, "timeout": self.timeout})  # ASCII: any file name survives
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise _Broken from None

    @staticmethod
    def _kill(process, late):
        late.set()
        process.kill()

    def _exit_reason(self, late):
        self.process.kill()
        code = self.process.wait()
        self.close()
        if late.is_set():
            return Problem(
                "too slow",
                f"it took longer than {self.timeout:g} seconds",
                "allow more time (timeout), or cut the video shorter",
            ).reason
        if code == -signal.SIGKILL:
            return out_of_memory().reason
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Problem("decoder crashed", f"the decoder died of it ({name})").reason

    def kill(self) -> None:
        """End the process, and any that another thread starts after it."""
        self.ended = True
        process = self.process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process; the next request starts a new one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(OSError):  # what it was sent and never read
                self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


class Pool:
    """`workers` processes that answer requests; use it as a context manager."""

    def __init__(self, workers: int | None = None, memory_bytes=2 * 2**30, timeout: float = 60.0):
        if workers is not None and workers < 1:
            raise UsageError(f"`workers` must be at least 1, got {workers}")
        if memory_bytes < MINIMUM_MEMORY:
            raise UsageError(
                f"`memory_gib` must be at least {MINIMUM_MEMORY / 2**30} per worker, got "
                f"{memory_bytes / 2**30:.2f}"
            )
        if not 0 < timeout < 1e6:
            raise UsageError(f"`timeout` must be above 0 and below 1e6 seconds, got {timeout}")
        self.size = workers or processors()
        self.workers = [Worker(memory_bytes, timeout) for _ in range(self.size)]

    def __enter__(self):
        self.workers[0].start()
        self.free = queue.SimpleQueue()
        for worker in self.workers:
            self.free.put(worker)
        self.threads = concurrent.futures.ThreadPoolExecutor(self.size)
        return self

    def _stop(self):
        self.threads.shutdown(wait=False, cancel_futures=True)
        for worker in self.workers:
            worker.kill()
        self.threads.shutdown()

    def __exit__(self, *error):
        self._stop()
        for worker in self.workers:
            worker.close()

    @property
    def decoder(self) -> str:
        """PyAV's and FFmpeg's versions, as the workers report them."""
        return self.workers[0].decoder

    def map(self, requests, consume=_together):
        """Yield an `Answer` per request, in their order, however many workers there are.

        `consume`, see `Worker.ask`, is called in several threads. At most two requests per worker
        are ahead of the caller, so that answers do not pile up.
        """
        waiting = collections.deque()
        try:
            for request in requests:
                waiting.append(self.threads.submit(self._ask, request, consume))
                if len(waiting) >= 2 * self.size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if waiting:  # the caller left early, and what `consume` writes must be at an end
                self._stop()

    def _ask(self, request, consume):
        worker = self.free.get()
        try:
            return worker.ask(request, consume)
        finally:
            self.free.put(worker)
