"""Output of the command line: live progress in a terminal, plain lines elsewhere, or JSON."""

import contextlib
import json
import os
import sys

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import keras_attn
from keras_attn.utils.plain import plain


class Console:
    """Results go to standard output, progress to standard error, so that output can be piped."""

    def __init__(self, as_json: bool = False, quiet: bool = False):
        self.as_json, self.quiet = as_json, quiet
        self.output = RichConsole(file=sys.stdout, highlight=False, soft_wrap=True)
        self.status = RichConsole(file=sys.stderr, highlight=False, soft_wrap=True)

    def show(self, lines, value) -> None:
        """Print `lines`, or `value` as one JSON object with `--json`."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value)) + "\n")  # ASCII: fits every terminal
        else:
            encoding = sys.stdout.encoding or "utf-8"
            for line in lines:
                # A file name may hold what the terminal cannot show.
                line = line.encode(encoding, "backslashreplace").decode(encoding)
                self.output.print(line, markup=False)

    @contextlib.contextmanager
    def progress(self, name: str):
        """Yield the callback that a verb takes as `progress`, or None if nothing is to be shown.

        It is called with `(done, total, text)`, or by a training with a `Checking` for each file, a
        `Progress` after each step and a row of the history after each epoch. A bar is drawn in a
        terminal only; epochs, and the text of a call with nothing done, are printed everywhere.
        """
        if self.quiet or self.as_json:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns,
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            console=self.status,
            transient=True,
            disable=not self.status.is_terminal,
        ) as bar:
            task = bar.add_task(name, total=None, speed="")

            def show(event, total=None, text=""):
                if hasattr(event, "done"):  # a `Checking`
                    event, total, text = event.done, event.total, event.text
                if isinstance(event, dict):
                    self.status.print(epoch_line(event), markup=False)
                elif total is not None:
                    if text and event == 0:
                        self.status.print(text, markup=False)
                    bar.update(task, completed=event, total=total)
                else:
                    bar.update(
                        task,
                        description=f"epoch {event.epoch}/{event.epochs}",
                        completed=(event.epoch - 1) * event.steps + event.step,
                        total=event.epochs * event.steps,
                        speed=f"{event.clips_per_second:.1f} clips/s, "
                        f"{event.data_wait:.0%} waiting for data, loss {event.logs['loss']:.3f}",
                    )

            yield show

    def load(self, verb: str):
        """Import the function of a verb, without the notes that TensorFlow prints as it starts."""
        sys.stderr.flush()
        keep = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            function = getattr(keras_attn, verb)
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()
            return function
        finally:
            os.dup2(keep, 2)
            os.close(keep)
            os.close(nowhere)


def epoch_line(row: dict) -> str:
    """One epoch of a history as a line."""
    stage = f"{row['stage']} " if "stage" in row else ""  # of a pre-training
    parts = [f"{stage}epoch {row['epoch']:>3}"]
    for name, value in row.items():
        if name == "clips_per_second":
            parts.append(f"{value:.1f} clips/s")
        elif name == "data_wait":
            parts.append(f"{value:.0%} waiting for data")
        elif name not in ("epoch", "stage"):
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts)
