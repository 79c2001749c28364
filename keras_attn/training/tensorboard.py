"""Write the history of a run for TensorBoard, where TensorBoard is installed."""

import importlib.util
import shutil


def scalar_writer(folder, rows: list[dict]):
    """Return a function that writes a row of the history to event files in `folder`.

    `rows` replace the content of the folder: a resumed run may repeat an epoch whose scalars were
    written before it was killed. Without TensorBoard nothing is written.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return lambda row: None
    import tensorflow as tf

    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder))

    def write(row):
        with writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value)
        writer.flush()

    for row in rows:
        write(row)
    return write
