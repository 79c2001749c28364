"""Compare a paper's attention with its own no-attention baseline and a pooled linear model.

    python scripts/compare_attention.py temporal_attention_mobilenet DATA WORKDIR \
        --out docs/results/ucf101_20/temporal_attention.md --seeds 2 --set epochs=10

DATA is scanned, split into folds by group, prepared, and holds the features that the recipe reads.
Each variant is trained in a process of its own, so that its memory is its own; runs that are
finished are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# For each model: the name of a variant -> the arguments of the constructor that make it.
VARIANTS = {
    "structured_attention": {
        "no attention (mean over the cells)": {"attention": "none"},
        "classic attention, no penalty": {"attention": "classic"},
        "structured: l2,1 penalty as printed, 1e-4": {"attention": "structured", "penalty": "1e-4"},
        # The printed lambda belongs to the printed penalty; the other value is ours, not tuned.
        "concentrated: entropy over blocks (ours), 1e-2": {
            "attention": "concentrated",
            "penalty": "1e-2",
        },
    },
    "sta_cnn": {
        "no attention (mean over cells and segments)": {
            "spatial": "none",
            "groups": "1",
            "keep": "9",
            "test_pooling": "average",
        },
        "spatial attention only": {"groups": "1", "keep": "9", "test_pooling": "average"},
        "temporal attention only, TS(3x3, 3x1)": {"spatial": "none"},
        "spatial and temporal attention": {},
        "spatial attention only, no auxiliary loss": {
            "aux_weight": "0",
            "groups": "1",
            "keep": "9",
            "test_pooling": "average",
        },
        "spatial and temporal attention, mean of predictions": {"consensus": "prediction"},
    },
    "temporal_attention": {
        "no attention (mean over the frames)": {"attention": "none"},
        "temporal attention": {},
    },
    "where_and_when": {
        "no attention (mean over cells and frames)": {
            "spatial": "none",
            "temporal_mode": "uniform",
        },
        "without the mask": {"spatial": "none"},
        "without temporal attention": {"temporal_mode": "uniform"},
        "mask and temporal attention": {},
        "the authors' code, without temporal attention": {"temporal_mode": "none"},
        "mask and temporal attention of the authors' code": {"temporal_mode": "posthoc"},
    },
    "pyramid_attention": {
        "no attention (mean over the frames)": {"mode": "none"},
        "shared scores": {"mode": "shared"},
        "pyramid attention, no extra losses": {"interaction": "0", "pyramid": "0"},
        "pyramid attention": {},
        "equal weights of all cells": {"mode": "uniform"},
    },
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", type=int, nargs="+", help="numbers from 0; default: all")
    parser.add_argument("--variant", help=argparse.SUPPRESS)  # train this one, and write nothing
    options = parser.parse_args()
    folds = sorted({int(row.split(",")[-1]) for row in _rows(options.data / "split.csv")})
    variants = list(VARIANTS[recipe(options).model])
    if options.variant:
        for seed in range(options.seeds):
            for fold in folds:
                train(options, options.variant, fold, seed)
        return
    rows = [pooled_row("mean-pooled features", recipe(options), options.data, folds)]
    for variant in [variants[i] for i in options.variants or range(len(variants))]:
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        subprocess.run(command, check=True)
        runs = [
            numbers(folder(options, variant, fold, seed))
            for seed in range(options.seeds)
            for fold in folds
        ]
        rows.append(summary_row(variant, runs, len(folds)))
    settings = {
        "recipe": options.recipe,
        "set": options.set,
        "seeds": options.seeds,
        "folds": len(folds),
    }
    write(options.out, rows, settings)


def _rows(path):
    return path.read_text(encoding="utf-8").splitlines()[1:]


def recipe(options, **changes):
    from keras_attn.recipes import RECIPES, override

    changes = dict(change.split("=", 1) for change in options.set) | changes
    return override(RECIPES[options.recipe], changes)


def folder(options, variant, fold, seed):
    number = list(VARIANTS[recipe(options).model]).index(variant)
    return options.workdir / options.recipe / f"variant{number}-fold{fold}-seed{seed}"


def train(options, variant, fold, seed):
    """Train and evaluate one run, unless that is done."""
    import keras_attn

    arguments = VARIANTS[recipe(options).model][variant]
    changes = {f"model.{name}": value for name, value in arguments.items()} | {"seed": str(seed)}
    workdir = folder(options, variant, fold, seed)
    if (workdir / "evaluation" / "test" / "metrics.json").exists():
        return
    wanted = recipe(options, **changes)
    keras_attn.train(wanted, options.data, workdir, fold=fold, resume=True)
    evaluation = keras_attn.evaluate(workdir, examples=0)
    print(f"{variant}, fold {fold}, seed {seed}: {evaluation.lines()[0]}", flush=True)


def numbers(workdir):
    from keras_attn.training.runs import open_run

    results = open_run(workdir).read_results()
    found = json.loads((workdir / "evaluation" / "test" / "metrics.json").read_text())["metrics"]
    return {
        "accuracy": found["accuracy"],
        "mean_class": found["mean_class_accuracy"],
        "seconds": results["seconds"],
        "memory": results["peak_memory_gib"],
        "parameters": results["parameters"],
        "train_accuracy": results["history"][-1]["accuracy"],
    }


def pooled_row(name, wanted, data, folds):
    """The stored features that recipe `wanted` reads, averaged over positions and cells, and a
    logistic regression (scikit-learn, C = 1)."""
    from sklearn.linear_model import LogisticRegression

    from keras_attn.data.source import open_source

    pooled, runs = {}, []
    for fold in folds:
        source = open_source(data, wanted, fold)
        for videos in source.subsets.values():
            for video in videos:
                if video.id not in pooled:
                    stored = source.features.positions(video.path)
                    features = source.features.read(video.path, stored, video.length)
                    axes = tuple(range(features.ndim - 1))
                    pooled[video.id] = features.mean(axes, dtype="float64")
        started = time.perf_counter()
        x, y, test_x, test_y = _arrays(source, pooled)
        model = LogisticRegression(max_iter=5000).fit(x, y)
        right = model.predict(test_x) == test_y
        shares = [right[test_y == label].mean() for label in np.unique(test_y)]
        runs.append(
            {
                "accuracy": right.mean(),
                "mean_class": np.mean(shares),
                "seconds": time.perf_counter() - started,
                "memory": None,
                "parameters": model.coef_.size + model.intercept_.size,
                "train_accuracy": model.score(x, y),
            }
        )
    return summary_row(f"{name} + logistic regression", runs, len(folds))


def _arrays(source, pooled):
    train, test = source.subsets["train"], source.subsets["test"]
    return (
        np.stack([pooled[video.id] for video in train]),
        np.array([video.label for video in train]),
        np.stack([pooled[video.id] for video in test]),
        np.array([video.label for video in test]),
    )


def summary_row(name, runs, folds):
    """Mean over folds and seeds; the spreads are standard deviations over folds and over seeds."""
    accuracy = np.array([run["accuracy"] for run in runs]).reshape(-1, folds)

    def known(key):
        return [run[key] for run in runs if run[key] is not None]

    def mean(key):
        return float(np.mean(known(key))) if known(key) else None

    return {
        "name": name,
        "runs": len(runs),
        "accuracy": float(accuracy.mean()),
        "fold_spread": float(accuracy.mean(0).std(ddof=1)),
        "seed_spread": float(accuracy.mean(1).std(ddof=1)) if len(accuracy) > 1 else None,
        "mean_class": mean("mean_class"),
        "train_accuracy": mean("train_accuracy"),
        "parameters": int(known("parameters")[0]) if known("parameters") else None,
        "seconds": mean("seconds"),
        "memory": max(known("memory"), default=None),
        "values": accuracy.tolist(),
    }


def write(out, rows, settings):
    """Write the table as Markdown to `out`, and the numbers as JSON beside it."""
    from keras_attn.utils.files import write_atomic, write_json

    def number(value, form):
        return "-" if value is None else format(value, form)

    lines = [
        "| model | runs | accuracy | sd over folds | sd over seeds | mean over classes "
        "| training-clip accuracy | parameters | seconds per run | peak GiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row["name"], str(row["runs"])]
        cells += [number(row[key], ".3f") for key in ("accuracy", "fold_spread", "seed_spread")]
        cells += [number(row[key], ".3f") for key in ("mean_class", "train_accuracy")]
        cells += [number(row["parameters"], ","), number(row["seconds"], ".0f")]
        lines.append(f"| {' | '.join([*cells, number(row['memory'], '.2f')])} |")
    write_atomic(out, "\n".join(lines) + "\n")
    write_json(out.with_suffix(".json"), {"settings": settings, "rows": rows})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
