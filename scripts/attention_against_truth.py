"""Compare the attention of a run with the known boxes of synthetic clips.

    python scripts/attention_against_truth.py demo/run demo/videos.json --videos demo/videos

Prints, for the test subset and the frames in which the shape moves, the share of the attention that
lies in the true box beside the share of the frame that the box covers, and the share of frames
whose strongest cell has its center in the box.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--videos", type=Path, required=True)
    options = parser.parse_args()
    from keras_attn.data.source import subset_labels
    from keras_attn.inference.trained_model import open_model
    from keras_attn.training.runs import open_run

    run = open_run(options.run)
    truth = json.loads(options.truth.read_text())
    model = open_model(options.run)
    rows = []
    for name in subset_labels(run.facts["data"], run.facts["fold"])["test"]:
        rows += video_rows(model, options.videos / name, truth[name])
    mass, area, hit = np.mean(rows, axis=0)
    print(
        f"{len(rows)} frames: {mass:.3f} of the attention lies in the box, which covers {area:.3f} "
    )
    print(f"of the frame ({mass / area:.1f} times as much); strongest cell in the box: {hit:.3f}")


def video_rows(model, path, truth):
    """For each frame of the action: attention in the box, its area, whether the peak is in it."""
    from keras_attn.decoding.frames import read_frames

    frames, _ = read_frames(path)
    where = model.ask(frames=frames)["where"]
    height, width = frames.shape[1:3]
    rows = []
    for frame in range(truth["start"], truth["end"]):
        inside = cells_inside(where.shape[1:], truth["boxes"][frame], height, width)
        peak = np.unravel_index(where[frame].argmax(), where.shape[1:])
        rows.append(((where[frame] * inside).sum(), inside.mean(), inside[peak] >= 0.5))
    return rows


def cells_inside(shape, box, height, width):
    """The share of each cell that the box covers, `(h, w)`."""
    x, y, box_width, box_height = box
    rows = covered(shape[0], height, y, y + box_height)
    columns = covered(shape[1], width, x, x + box_width)
    return np.outer(rows, columns)


def covered(cells, pixels, start, end):
    edges = np.linspace(0, pixels, cells + 1)
    overlap = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.clip(overlap, 0, None) / (pixels / cells)


if __name__ == "__main__":
    main()
