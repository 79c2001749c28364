"""The one loop over steps: training and flow pre-training count, save and stop in the same way.

One step is one batch and one `train_on_batch`, so that the time spent waiting for data can be told
from the time spent computing, and a checkpoint can be taken between any two steps.
"""

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tensorflow as tf

from keras_attn.errors import DataError, UserError
from keras_attn.training import checkpoint
from keras_attn.utils.files import write_atomic
from keras_attn.utils.interruption import Interruption


@dataclass
class TrainingState:
    """The progress of a run: all that a checkpoint holds in addition to the variables of the model.

    `sums` are the logs of the current epoch, each weighted by the `clips` of its batch. `stage` is
    that of a pre-training, empty in a training; `epoch` and `step` are those of the stage.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    clips: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf
    history: list[dict] = field(default_factory=list)
    stage: str = ""


@dataclass(frozen=True)
class Progress:
    """One step of a running training, for a display."""

    epoch: int
    epochs: int
    step: int
    steps: int
    logs: dict[str, float]
    clips_per_second: float
    data_wait: float


@dataclass(frozen=True)
class Checking:
    """Progress event: one data file was verified."""

    done: int
    total: int
    text: str


@dataclass(frozen=True)
class Outputs:
    """Output paths and error texts of a loop.

    `rate` and `batch` name the fields of the recipe with the learning rate and with the clips or
    pairs per step; `unreadable` says what could not be
    read, with `{error}` in it, and how to make it again.
    """

    checkpoint: Path
    history: Path
    rate: str
    batch: str
    unreadable: str


@contextlib.contextmanager
def enough_memory(what: str, batch: str):
    """Inside `with`, an error for want of memory is a `UserError` that names the field `batch`."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise UserError(
            f"{what} needs more memory than there is. Lower {batch} (accumulate makes up for it in "
            "a training) or clips.size, or choose a smaller backbone or model."
        ) from error


class StepLoop:
    """The state of a compiled model that learns, and the steps that change it.

    The state is that of the checkpoint, if there is one. Inside `with`, Ctrl-C and SIGTERM stop
    after a step, with a checkpoint, and the time counts.
    """

    def __init__(self, model, outputs: Outputs, checkpoint_seconds: float, progress=None):
        self.model, self.outputs = model, outputs
        self.checkpoint_seconds = checkpoint_seconds
        self.progress: Callable = progress or (lambda event: None)
        self.state = TrainingState()
        if outputs.checkpoint.exists():
            self.state = TrainingState(**checkpoint.load(outputs.checkpoint, model))
        self._interruption = Interruption()

    def __enter__(self):
        self._started = time.perf_counter() - self.state.seconds
        self._interruption.__enter__()
        return self

    def __exit__(self, *error):
        self._interruption.__exit__(*error)

    def run_epoch(self, batches: Iterable, steps: int, epochs: int) -> tuple[dict, dict]:
        """Make the remaining steps of the epoch, which has `steps`; `batches` begins with the next.

        Returns the means of the epoch's logs and the speed of the steps made here, empty for none.
        """
        state, speed = self.state, {}
        begun = saved = time.perf_counter()
        waited = clips = 0
        iterator = iter(batches)
        while state.step < steps:
            asked = time.perf_counter()
            with self.reading():
                inputs, labels = next(iterator)
            waited += time.perf_counter() - asked
            with enough_memory(f"{self.outputs.checkpoint.parent}: a step", self.outputs.batch):
                logs = self.model.train_on_batch(inputs, labels, return_dict=True)
            self._count(logs, len(labels))
            clips += len(labels)
            now = time.perf_counter()
            speed = {"clips_per_second": clips / (now - begun), "data_wait": waited / (now - begun)}
            self._refuse_divergence()
            self.progress(
                Progress(state.epoch + 1, epochs, state.step, steps, self._logs(), **speed)
            )
            if state.step < steps and now - saved >= self.checkpoint_seconds:
                self.save()
                saved = time.perf_counter()
            self._stop_if_requested()
        return self._logs(), speed

    def end_epoch(self, row: dict) -> None:
        """Count the epoch, and `record` its row of the history."""
        state = self.state
        state.epoch += 1
        state.step = state.clips = 0
        state.sums = {}
        self.record(row)

    def record(self, row: dict) -> None:
        """Add a row to the history, save, show the row, and stop if that was requested."""
        self.state.history.append(row)
        self.save()
        self.progress(row)
        self._stop_if_requested(saved=True)

    def evaluate(self, batches: Iterable) -> dict[str, float]:
        """The logs of the model on some batches."""
        place = self.outputs.checkpoint.parent
        with enough_memory(f"{place}: the validation", self.outputs.batch), self.reading():
            return self.model.evaluate(batches, verbose=0, return_dict=True)

    def save(self) -> None:
        """Write the checkpoint and the history."""
        self.state.seconds = time.perf_counter() - self._started
        checkpoint.save(self.outputs.checkpoint, self.model, asdict(self.state))
        self.write_history()

    def write_history(self) -> None:
        """Write one line per row; a column that some rows lack is empty there."""
        rows = self.state.history
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.outputs.history, text.getvalue())

    @contextlib.contextmanager
    def reading(self):
        """Inside `with`, an error of the data is a `DataError` that says what to do."""
        try:
            yield
        except tf.errors.ResourceExhaustedError:
            raise  # it comes from the model: the data are not to blame
        except tf.errors.OpError as error:
            text = self.outputs.unreadable.format(error=error.message.splitlines()[0])
            raise DataError(f"{self.outputs.checkpoint.parent}: {text}") from error

    def _stop_if_requested(self, saved=False):
        if self._interruption.requested:
            if not saved:
                self.save()
            self._interruption.raise_pending()

    def _refuse_divergence(self):
        state, loss = self.state, self._logs()["loss"]
        if not math.isfinite(loss):
            stage = f" of {state.stage}" if state.stage else ""
            raise UserError(
                f"{self.outputs.checkpoint.parent}: the loss became {loss} in epoch "
                f"{state.epoch + 1}{stage}, step {state.step}. Start again in another workdir with "
                f"a lower {self.outputs.rate}, or with precision=float32."
            )

    def _count(self, logs, clips):
        """Add the logs of one batch to those of the epoch; Keras gives each batch its own."""
        state = self.state
        state.step += 1
        state.clips += clips
        for name, value in logs.items():
            state.sums[name] = state.sums.get(name, 0.0) + float(value) * clips

    def _logs(self):
        return {name: total / self.state.clips for name, total in self.state.sums.items()}
