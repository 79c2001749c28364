"""Compare attention variants with each other and with a pooled linear model, on folds by group.

    python scripts/compare_attention.py DATA WORKDIR --out docs/results/ucf101_20.md \
        --set epochs=6 --set clips.stride=16

DATA is scanned, split into folds, prepared, and holds the features of the recipe's backbone. Every
run is a `keras-attn train` in a process of its own; runs that are finished are not repeated.
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

VARIANTS = {
    "none": "no attention (mean over the cells)",
    "classic": "classic attention, no penalty",
    "structured": "structured: l2,1 penalty as printed, 1e-4",
    "concentrated": "concentrated: entropy over blocks (ours), 1e-2",
}
# The printed lambda belongs to the printed penalty; the other value is ours, not tuned.
PENALTY = {"structured": "1e-4", "concentrated": "1e-2"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--recipe", default="structured_attention_mobilenet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folds = sorted({row.split(",")[-1].strip() for row in _rows(options.data / "split.csv")})
    rows = [pooled_row(options, [int(fold) for fold in folds])]
    for variant in VARIANTS:
        runs = [
            attention_run(options, variant, int(fold), seed)
            for seed in range(options.seeds)
            for fold in folds
        ]
        rows.append(summary_row(VARIANTS[variant], runs, len(folds)))
    write(options, rows, len(folds))


def _rows(path):
    return path.read_text(encoding="utf-8").splitlines()[1:]


def attention_run(options, variant, fold, seed):
    """Train and evaluate one run; returns its numbers."""
    from keras_attn import evaluate
    from keras_attn.runs import open_run

    workdir = options.workdir / f"{variant}-fold{fold}-seed{seed}"
    changes = [*options.set, f"model.attention={variant}", f"seed={seed}"]
    if variant in PENALTY:
        changes.append(f"model.penalty={PENALTY[variant]}")
    command = [sys.executable, "-m", "keras_attn", "train", options.recipe, "--resume", "--quiet"]
    command += ["--data", str(options.data), "--workdir", str(workdir), "--fold", str(fold)]
    subprocess.run(
        [*command, *(part for change in changes for part in ("--set", change))], check=True
    )
    metrics = workdir / "evaluation" / "test" / "metrics.json"
    if not metrics.exists():
        evaluate(workdir, examples=0)
    results = open_run(workdir).read_results()
    numbers = json.loads(metrics.read_text())["metrics"]
    found = {
        "seed": seed,
        "accuracy": numbers["accuracy"],
        "mean_class": numbers["mean_class_accuracy"],
        "seconds": results["seconds"],
        "memory": results["peak_memory_gib"],
        "train_accuracy": results["history"][-1]["accuracy"],
    }
    print(variant, fold, found, flush=True)
    return found


def pooled_row(options, folds):
    """Features averaged over frames and cells, and a logistic regression (scikit-learn, C = 1)."""
    from sklearn.linear_model import LogisticRegression

    from keras_attn.data.source import open_source
    from keras_attn.recipes import RECIPES, override

    changes = dict(change.split("=", 1) for change in options.set)
    recipe = override(RECIPES[options.recipe], changes)
    pooled, runs = {}, []
    for fold in folds:
        source = open_source(options.data, recipe, fold)
        for videos in source.parts.values():
            for video in videos:
                if video.id not in pooled:
                    features = np.load(video.path, allow_pickle=False)
                    pooled[video.id] = features.mean((0, 1, 2), dtype="float64")
        started = time.perf_counter()
        x, y, test_x, test_y = _arrays(source, pooled)
        model = LogisticRegression(max_iter=5000).fit(x, y)
        right = model.predict(test_x) == test_y
        shares = [right[test_y == label].mean() for label in np.unique(test_y)]
        runs.append(
            {
                "seed": 0,
                "accuracy": right.mean(),
                "mean_class": np.mean(shares),
                "seconds": time.perf_counter() - started,
                "memory": None,
                "train_accuracy": model.score(x, y),
            }
        )
    return summary_row("mean-pooled features + logistic regression", runs, len(folds))


def _arrays(source, pooled):
    train, test = source.parts["train"], source.parts["test"]
    return (
        np.stack([pooled[video.id] for video in train]),
        np.array([video.label for video in train]),
        np.stack([pooled[video.id] for video in test]),
        np.array([video.label for video in test]),
    )


def summary_row(name, runs, folds):
    """Mean over folds and seeds; the spreads are standard deviations over folds and over seeds."""
    accuracy = np.array([run["accuracy"] for run in runs]).reshape(-1, folds)
    memory = [run["memory"] for run in runs if run["memory"]]
    return {
        "name": name,
        "runs": len(runs),
        "accuracy": float(accuracy.mean()),
        "fold_spread": float(accuracy.mean(0).std(ddof=1)),
        "seed_spread": float(accuracy.mean(1).std(ddof=1)) if len(accuracy) > 1 else None,
        "mean_class": float(np.mean([run["mean_class"] for run in runs])),
        "train_accuracy": float(np.mean([run["train_accuracy"] for run in runs])),
        "hours": float(sum(run["seconds"] for run in runs) / 3600),
        "memory": max(memory) if memory else None,
        "values": accuracy.tolist(),
    }


def write(options, rows, folds):
    """Write the table as Markdown and the numbers as JSON beside it."""
    from keras_attn.files import write_atomic, write_json

    def number(value, form):
        return "-" if value is None else format(value, form)

    lines = [
        "| model | runs | accuracy | sd over folds | sd over seeds | mean over classes "
        "| clips right in training | hours | peak GiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row["name"], str(row["runs"])]
        cells += [number(row[key], ".3f") for key in ("accuracy", "fold_spread", "seed_spread")]
        cells += [number(row[key], ".3f") for key in ("mean_class", "train_accuracy")]
        cells += [number(row["hours"], ".2f"), number(row["memory"], ".2f")]
        lines.append(f"| {' | '.join(cells)} |")
    write_atomic(options.out, "\n".join(lines) + "\n")
    settings = {
        "recipe": options.recipe,
        "set": options.set,
        "seeds": options.seeds,
        "folds": folds,
    }
    write_json(options.out.with_suffix(".json"), {"settings": settings, "rows": rows})
    print("\n".join(lines))


if __name__ == "__main__":
    main()
