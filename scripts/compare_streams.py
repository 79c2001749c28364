"""Compare what a model sees - RGB, flow, warped flow - and every way to fuse it.

    python scripts/compare_streams.py DATA WORKDIR --out docs/results/weizmann4/streams.md

DATA is scanned, split into folds by group, prepared, and holds flow, warped flow, and features of
both, of RGB, and of the two recipes that see two streams. The model is paper 004's on MobileNetV2.
Runs and score files that are there are not made again.
"""

import argparse
import os
import sys
from pathlib import Path

from compare_attention import pooled_row, summary_row, write

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The name of a single model -> its recipe and what it sees.
STREAMS = {
    "RGB": ("pyramid_attention_mobilenet", "rgb"),
    "flow": ("pyramid_attention_mobilenet", "flow"),
    "warped flow": ("pyramid_attention_mobilenet", "warped_flow"),
    "attention-layer fusion": ("attention_fusion_mobilenet", "rgb_and_flow"),
    "motion-reinforced RGB": ("motion_reinforcement_mobilenet", "rgb_and_flow"),
}
TRAJECTORIES = "trajectories, Fisher vectors, linear SVM"
# Late fusions, with the weights of the papers.
FUSIONS = {
    "late fusion: RGB + flow": ("RGB", "flow"),
    "motion compensation: RGB + flow + warped flow": ("RGB", "flow", "warped flow"),
    "motion reinforcement: reinforced RGB + flow + warped flow": (
        "motion-reinforced RGB",
        "flow",
        "warped flow",
    ),
    "RGB + trajectories": ("RGB", TRAJECTORIES),
    "RGB + flow + trajectories": ("RGB", "flow", TRAJECTORIES),
    "RGB + flow + warped flow + trajectories": ("RGB", "flow", "warped flow", TRAJECTORIES),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=256, help="of the features, in pixels")
    parser.add_argument("--flow-method", default="tvl1")
    parser.add_argument("--components", type=int, default=64, help="of the Gaussian mixtures")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = claim(options)
    folds = split_folds(options.data)
    places = [(fold, seed) for seed in range(options.seeds) for fold in folds]
    found = {}
    for name in STREAMS:
        found[name] = {place: score(options, name, *place) for place in places}
    trajectories = {fold: trajectory_scores(options, fold) for fold in folds}
    rows = [
        pooled_row(f"mean-pooled {name} features", recipe(options, name), options.data, folds)
        for name in ("RGB", "flow")
    ]
    rows += [
        summary_row(name, [numbers(found[name][p]) for p in places], len(folds)) for name in found
    ]
    runs = [numbers(trajectories[fold]) for fold in folds]  # the same for every seed
    rows.append(summary_row(TRAJECTORIES, runs, len(folds)))
    found[TRAJECTORIES] = {place: trajectories[place[0]] for place in places}
    for name, subsets in FUSIONS.items():
        runs = [fusion([found[subset][place] for subset in subsets]) for place in places]
        rows.append(summary_row(name, runs, len(folds)))
    write(options.out, rows, settings | {"seeds": options.seeds, "folds": len(folds)})


def claim(options):
    """The settings of the runs of the work folder; stops where it has runs of other settings."""
    from keras_attn.datasets.tables import differences
    from keras_attn.utils.files import read_json, write_json

    names = ("size", "flow_method", "components", "set")
    settings = {name: getattr(options, name) for name in names}
    path = options.workdir / "settings.json"
    if path.exists() and (changed := differences(read_json(path), settings)):
        sys.exit(f"{options.workdir}: holds runs created with different settings: {changed}")
    options.workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)
    return settings


def split_folds(data):
    from keras_attn.datasets.tables import read_split

    return sorted({int(subset) for subset in read_split(data).values()})


def recipe(options, name, seed=0):
    from keras_attn.recipes import RECIPES, override

    base, kind = STREAMS[name]
    changes = dict(change.split("=", 1) for change in options.set)
    changes |= {"input": kind, "flow_method": options.flow_method, "seed": str(seed)}
    return override(RECIPES[base], changes | {"clips.size": str(options.size)})


def score(options, name, fold, seed):
    """Train and evaluate one model, unless that is done; returns its score file."""
    import keras_attn

    workdir = options.workdir / f"{name.replace(' ', '_')}-fold{fold}-seed{seed}"
    path = workdir / "evaluation" / "test" / "scores.npz"
    if not path.exists():
        keras_attn.train(recipe(options, name, seed), options.data, workdir, fold=fold, resume=True)
        evaluation = keras_attn.evaluate(workdir, examples=0)
        print(f"{name}, fold {fold}, seed {seed}: {evaluation.lines()[0]}", flush=True)
    return path


def trajectory_scores(options, fold):
    """Score the test subset by its trajectories, unless that is done; returns the score file."""
    import keras_attn

    path = options.workdir / f"trajectories-fold{fold}.npz"
    if not path.exists():
        summary = keras_attn.score_trajectories(
            options.data, fold=fold, out=path, components=options.components
        )
        print(f"trajectories, fold {fold}: {'; '.join(summary.lines())}", flush=True)
    return path


def fusion(paths):
    """The row of a late fusion; only its accuracies are measured."""
    import keras_attn

    summary = keras_attn.fuse(paths)
    return {
        "accuracy": summary.accuracy,
        "mean_class": summary.mean_class_accuracy,
        "seconds": None,
        "memory": None,
        "parameters": None,
        "train_accuracy": None,
    }


def numbers(path):
    """The row of a single model, from its score file and, if it has one, its run."""
    from keras_attn.metrics.classification import summarize
    from keras_attn.metrics.scores import read_scores
    from keras_attn.training.runs import open_run

    summary = summarize(read_scores(path))
    results = {}
    if path.name == "scores.npz":  # of a run
        results = open_run(path.parents[2]).read_results()
    history = results.get("history")
    return {
        "accuracy": summary.accuracy,
        "mean_class": summary.mean_class_accuracy,
        "seconds": results.get("seconds"),
        "memory": None,  # all were trained in one process
        "parameters": results.get("parameters"),
        "train_accuracy": history[-1]["accuracy"] if history else None,
    }


if __name__ == "__main__":
    main()
