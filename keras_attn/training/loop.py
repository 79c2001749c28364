"""The loop over epochs and steps: what is saved when, and how fast it goes.

One step is one batch and one `train_on_batch`, so that the time spent waiting for data can be told
from the time spent computing, and a checkpoint can be taken between any two steps.
"""

import csv
import io
import math
import time
from dataclasses import asdict, dataclass, field

import tensorflow as tf

from keras_attn.data import batches, transforms
from keras_attn.errors import DataError, UserError
from keras_attn.training import checkpoint
from keras_attn.training.tensorboard import scalar_writer
from keras_attn.utils.files import staging, write_atomic
from keras_attn.utils.interruption import Interruption


@dataclass
class TrainingState:
    """How far a run has come, and what its callbacks would have to remember.

    `sums` are the logs of the present epoch, each weighted by the `clips` of its batch.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    clips: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf
    history: list[dict] = field(default_factory=list)


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


class TrainingLoop:
    """The state of one training run in this process, and the loop over its epochs."""

    def __init__(self, run, recipe, source, model, checkpoint_seconds, progress):
        self.run, self.recipe, self.model = run, recipe, model
        self.checkpoint_seconds = checkpoint_seconds
        self.progress = progress or (lambda event: None)
        augment = [
            transform
            for transform, wanted in (
                (transforms.random_crop, recipe.random_crop),
                (transforms.random_flip, recipe.flip),
            )
            if wanted
        ]
        self.read = source.reader(augment, random=True)
        self.read_plain = source.reader()
        self.clips = source.clips("train")
        self.validation = source.clips("validation") if source.subsets.get("validation") else None
        self.steps = -(-len(self.clips) // recipe.batch_size)
        self.state = TrainingState()
        if run.checkpoint.exists():
            self.state = TrainingState(**checkpoint.load(run.checkpoint, model))

    def fit(self):
        """Train to the last epoch. Ctrl-C and SIGTERM stop after a step, with a checkpoint."""
        state = self.state
        self.started = time.perf_counter() - state.seconds
        write_scalars = scalar_writer(self.run.path / "tensorboard", state.history)
        with Interruption() as self.interruption:
            while state.epoch < self.recipe.epochs:
                row = self._epoch()
                self._keep_best(row)
                state.history.append(row)
                state.epoch += 1
                state.step = state.clips = 0
                state.sums = {}
                self._save()
                write_scalars(row)
                self.progress(row)
                self._stop_if_requested()
        write_history(self.run.history, state.history)  # a kill may have come just before it

    def _epoch(self):
        """The rest of the present epoch; returns its row of the history."""
        state, recipe = self.state, self.recipe
        dataset = batches.batches(
            self.clips,
            self.read,
            recipe.batch_size,
            seed=recipe.seed,
            epoch=state.epoch,
            skip=state.step,
        )
        begun = saved = time.perf_counter()
        waited = clips = 0
        iterator = iter(dataset)
        while state.step < self.steps:
            asked = time.perf_counter()
            inputs, labels = self._next(iterator)
            waited += time.perf_counter() - asked
            self._count(self.model.train_on_batch(inputs, labels, return_dict=True), len(labels))
            clips += len(labels)
            state.step += 1
            now = time.perf_counter()
            speed, wait = clips / (now - begun), waited / (now - begun)
            self._refuse_divergence()
            self.progress(self._progress(speed, wait))
            due = state.step < self.steps and now - saved >= self.checkpoint_seconds
            if due or self.interruption.requested:
                self._save()
                saved = time.perf_counter()
            self._stop_if_requested()
        row = {"epoch": state.epoch + 1, **self._logs()}
        if self.validation:
            row |= {f"val_{name}": value for name, value in self._validate().items()}
        return row | ({"clips_per_second": speed, "data_wait": wait} if clips else {})

    def _next(self, iterator):
        try:
            return next(iterator)
        except tf.errors.OpError as error:
            raise DataError(
                f"{self.run.path}: a clip could not be read: {error.message.splitlines()[0]}. Make "
                "its record or features again (keras-attn prepare, features), then --resume."
            ) from error

    def _stop_if_requested(self):
        if self.interruption.requested:
            self.interruption.raise_pending()

    def _refuse_divergence(self):
        loss = self._logs()["loss"]
        if not math.isfinite(loss):
            raise UserError(
                f"{self.run.path}: the loss became {loss} in epoch {self.state.epoch + 1}, step "
                f"{self.state.step}. Start again in another workdir with a lower learning_rate, "
                "or with precision=float32."
            )

    def _progress(self, speed, wait):
        return Progress(
            epoch=self.state.epoch + 1,
            epochs=self.recipe.epochs,
            step=self.state.step,
            steps=self.steps,
            logs=self._logs(),
            clips_per_second=speed,
            data_wait=wait,
        )

    def _count(self, logs, clips):
        """Add the logs of one batch to those of the epoch; Keras gives each batch its own."""
        state = self.state
        state.clips += clips
        for name, value in logs.items():
            state.sums[name] = state.sums.get(name, 0.0) + float(value) * clips

    def _logs(self):
        return {name: total / self.state.clips for name, total in self.state.sums.items()}

    def _validate(self):
        dataset = batches.batches(self.validation, self.read_plain, self.recipe.batch_size)
        return self.model.evaluate(dataset, verbose=0, return_dict=True)

    def _keep_best(self, row):
        """Keep the weights of the epoch with the best validation accuracy, the first among equals.

        A run that is killed before the checkpoint that follows writes the same file once more.
        """
        accuracy = row.get("val_accuracy", -math.inf)
        if self.recipe.select == "best" and accuracy > self.state.best:
            self.state.best = accuracy
            with staging(self.run.best) as beside:
                self.model.save_weights(beside)

    def _save(self):
        self.state.seconds = time.perf_counter() - self.started
        checkpoint.save(self.run.checkpoint, self.model, asdict(self.state))
        write_history(self.run.history, self.state.history)


def write_history(path, rows: list[dict]) -> None:
    """Write one line an epoch; a column that some epochs lack is empty there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())
