"""Compare what a model sees - RGB, flow, warped flow - and every way to fuse it.

    python scripts/compare_streams.py DATA WORKDIR --out docs/results/weizmann4/streams.md

DATA is scanned, split into folds by group, prepared, and holds flow, warped flow, and features of
both, of RGB, and of the two recipes that see two streams. The model is paper 004's on MobileNetV2.
Runs and score files that are there are not made again.
"""

import argparse
import os
from pathlib import Path

from compare_attention import summary_row, write

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
    options.recipe = "pyramid_attention_mobilenet"  # for the settings that `write` records
    text = (options.data / "split.csv").read_text(encoding="utf-8")
    folds = sorted({int(row.split(",")[-1]) for row in text.splitlines()[1:]})
    places = [(fold, seed) for seed in range(options.seeds) for fold in folds]
    found = {}
    for name in STREAMS:
        found[name] = {place: score(options, name, *place) for place in places}
    trajectories = {fold: trajectory_scores(options, fold) for fold in folds}
    found[TRAJECTORIES] = {place: trajectories[place[0]] for place in places}
    rows = [
        summary_row(name, [numbers(found[name][p]) for p in places], len(folds)) for name in found
    ]
    for name, parts in FUSIONS.items():
        runs = [fusion([found[part][place] for part in parts]) for place in places]
        rows.append(summary_row(name, runs, len(folds)))
    write(options, rows, folds)


def score(options, name, fold, seed):
    """Train and evaluate one model, unless that is done; returns its score file."""
    import keras_attn
    from keras_attn.recipes import RECIPES, override

    workdir = options.workdir / f"{name.replace(' ', '_')}-fold{fold}-seed{seed}"
    path = workdir / "evaluation" / "test" / "scores.npz"
    if not path.exists():
        base, kind = STREAMS[name]
        changes = dict(change.split("=", 1) for change in options.set)
        changes |= {"input": kind, "flow_method": options.flow_method, "seed": str(seed)}
        recipe = override(RECIPES[base], changes | {"clips.size": str(options.size)})
        keras_attn.train(recipe, options.data, workdir, fold=fold, resume=True)
        evaluation = keras_attn.evaluate(workdir, examples=0)
        print(f"{name}, fold {fold}, seed {seed}: {evaluation.lines()[0]}", flush=True)
    return path


def trajectory_scores(options, fold):
    """Score the test part by its trajectories, unless that is done; returns the score file."""
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
    from keras_attn.metrics import summarise
    from keras_attn.runs import open_run
    from keras_attn.scores import read_scores

    summary = summarise(read_scores(path))
    results = {}
    if (path.parents[2] / "run.json").exists():
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
