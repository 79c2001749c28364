"""The command line: `keras-attn VERB`, one verb for each public function of the package."""

import argparse
import json
import os
import sys
import warnings

from keras_attn import __version__
from keras_attn.data.streams import FLOW_METHODS, INPUTS
from keras_attn.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes, not its errors


def main(arguments=None) -> int:
    """Run one verb; 0 ok, 1 failure, 2 usage, 3 data problems found."""
    options = _parser().parse_args(arguments)
    from keras_attn.cli import commands
    from keras_attn.cli.console import Console, import_tensorflow

    warnings.showwarning = _warn
    try:
        verb = getattr(commands, options.verb)
        if options.verb not in _WITHOUT_TENSORFLOW:
            import_tensorflow()
        return verb(options, Console(options.json, options.quiet)) or 0
    except UserError as error:
        return _fail(options, str(error), error.exit_code)
    except KeyboardInterrupt:
        more = "; go on with --resume" if options.verb == "train" else ""
        return _fail(options, f"stopped{more}", 130)
    except (OSError, ValueError) as error:
        if os.environ.get("KERAS_ATTN_TRACEBACK"):
            raise
        return _fail(options, f"{error} (KERAS_ATTN_TRACEBACK=1 shows where)", 1)


def _warn(message, category, *place):
    """A warning for the user as one line, once; those for programmers are left out."""
    if category is UserWarning and str(message) not in _WARNED:
        _WARNED.add(str(message))
        sys.stderr.write(f"warning: {message}\n")


def _fail(options, message, code):
    if options.json:
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}) + "\n")
    else:
        sys.stderr.write(f"error: {message}\n")
    return code


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-attn",
        description="Attention-based human action recognition in video: what, where and when.",
        epilog="exit codes: 0 ok, 1 failure, 2 usage, 3 data problems found, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"keras-attn {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (summary, add_arguments) in _VERBS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        verb = verbs.add_parser(name, help=summary, description=description)
        add_arguments(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object, not text")
        verb.add_argument("--quiet", action="store_true", help="no progress, only the result")
    return parser


def _scan(verb):
    add = verb.add_argument
    add("root", help="folder with one folder a class, a TSN list (.txt) or a CSV (path,label)")
    add("--data", required=True, help="data folder to write manifest.csv and classes.txt to")
    add("--classes", help="class names for a list with numbers (classInd.txt or one name a line)")
    add("--group-by", default="auto", help="auto (UCF gNN), parent, or a regular expression")
    _limits(verb, timeout=60)


def _limits(verb, timeout):
    add = verb.add_argument
    add("--workers", type=int, help="worker processes (default: one a processor)")
    add("--memory-gib", type=float, default=2.0, help="memory limit of a worker (default 2)")
    add(
        "--timeout",
        type=float,
        default=timeout,
        help=f"seconds that a file may take (default {timeout})",
    )


def _split(verb):
    add = verb.add_argument
    add("--data", required=True, help="data folder that was scanned")
    how = verb.add_mutually_exclusive_group()
    how.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        default=(0.7, 0.15, 0.15),
        help="shares of the videos (default 0.7 0.15 0.15)",
    )
    how.add_argument("--folds", type=int, help="number of cross-validation folds")
    how.add_argument("--official", help="folder of UCF-101's trainlist0N.txt and testlist0N.txt")
    add("--official-split", type=int, default=1, help="which official split (default 1)")
    add("--validation", type=float, default=0.0, help="with --official: share of its training side")
    add("--seed", type=int, default=0)
    add("--level", choices=("group", "clip"), default="group", help="what is kept together")
    add("--force", action="store_true", help="allow --level clip although clips have groups")


def _prepare(verb):
    add = verb.add_argument
    add("--data", required=True, help="data folder that was scanned")
    add("--short-side", type=int, default=256, help="pixels of the stored short side (default 256)")
    add("--quality", type=int, default=95, help="JPEG quality, 1 to 95 (default 95)")
    _limits(verb, timeout=120)


def _flow(verb):
    add = verb.add_argument
    add("data", help="data folder that was prepared")
    add("--method", choices=FLOW_METHODS, default="tvl1", help="how (default tvl1)")
    add("--warped", action="store_true", help="take the motion of the camera away")
    add("--width", type=int, default=340, help="pixels the frames are stretched to (default 340)")
    add("--height", type=int, default=256, help="the same of their height (default 256)")
    add("--workers", type=int, help="videos at a time (default: one a processor)")


def _features(verb):
    add = verb.add_argument
    add("--data", required=True, help="data folder that was prepared")
    add("--recipe", help="make what this recipe reads: its backbone, endpoint and size")
    add("--backbone", help="default: the recipe's, or inception_v3")
    add("--endpoint", help="where the backbone is cut (default: the recipe's, or its last maps)")
    add("--weights", default="imagenet", help="imagenet, a path, or none (default imagenet)")
    add("--size", type=int, help="input side in pixels (default: the recipe's, or its own)")
    add("--input", choices=INPUTS, help="what it sees (default: as the recipe, or rgb)")
    add("--flow-method", choices=FLOW_METHODS, default="tvl1", help="how the flow was made")
    add("--snippet", type=int, help="planes of flow side by side (default: the recipe's, or 5)")
    add("--batch-size", type=int, default=32)


def _train(verb):
    add = verb.add_argument
    add("recipe", help="name of a recipe; keras-attn recipes shows them")
    add("--data", required=True, help="data folder")
    add("--workdir", required=True, help="run folder to write")
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field, as in clips.frames=16 or model.attention=none",
    )
    add("--fold", type=int, help="fold to hold out, for a split with folds")
    add("--resume", action="store_true", help="go on with a run that was stopped")
    add("--checkpoint-seconds", type=float, default=60.0, help="between checkpoints (default 60)")


def _evaluate(verb):
    add = verb.add_argument
    add("run", help="run folder")
    add("--data", help="data folder (default: the one the run was trained on)")
    add("--subset", default="test", help="train, validation or test (default test)")
    add("--examples", type=int, default=4, help="best and worst videos shown (default 4 each)")


def _trajectories(verb):
    add = verb.add_argument
    add("--data", required=True, help="data folder that was prepared")
    add("--out", required=True, help="score file (.npz) to write, or a folder for scores.npz")
    add("--subset", default="test", help="train, validation or test (default test)")
    add("--fold", type=int, help="fold to hold out, for a split with folds")
    add("--components", type=int, default=256, help="Gaussians a descriptor (default 256)")
    add("--short-side", type=int, default=160, help="pixels; larger frames are made smaller (160)")
    add("--limit", type=int, default=10_000, help="trajectories kept a video (default 10000)")
    add("--workers", type=int, help="videos at a time (default: one a processor)")


def _fuse(verb):
    add = verb.add_argument
    add(
        "files",
        nargs="+",
        metavar="SCORES",
        help="scores.npz of keras-attn evaluate, or run folder",
    )
    add("--weights", type=float, nargs="+", help="one a file (default: those of the papers)")
    add(
        "--kind",
        choices=("probabilities", "logits", "l2"),
        help="what is added (default: probabilities; l2 with trajectories)",
    )
    add(
        "--search",
        nargs="+",
        metavar="SCORES",
        help="score files of the validation subset, in the same order, to find the weights on",
    )
    add("--out", help="score file to write")


def _predict(verb):
    add = verb.add_argument
    add("videos", nargs="+", metavar="VIDEO")
    add("--model", required=True, help="run folder or SavedModel")
    add("--top-k", type=int, default=5)


def _explain(verb):
    add = verb.add_argument
    add("video", metavar="VIDEO")
    add("--model", required=True, help="run folder or SavedModel")
    add("--out", required=True, help="MP4 file to write")


def _export(verb):
    add = verb.add_argument
    add("run", nargs="+", help="run folder; several, as of RGB and of flow, become one model")
    add("destination", help="model folder, as in saved_models/NAME; gets a new version")
    add("--weights", type=float, nargs="+", help="one a run (default: the papers')")


def _verify(verb):
    add = verb.add_argument
    add("saved_model", help="model folder or version folder")
    add("--run", nargs="+", help="compute the expected answers anew from this run folder")


_VERBS = {
    "scan": ("decode every file once and write the manifest", _scan),
    "split": ("divide the videos by group", _split),
    "prepare": ("write one record of JPEG frames a video", _prepare),
    "flow": ("write the optical flow of the records", _flow),
    "features": ("run a backbone over the records once", _features),
    "recipes": ("show the recipes", lambda verb: None),
    "train": ("train a model by a recipe", _train),
    "evaluate": ("score the test videos and write the report", _evaluate),
    "trajectories": ("classify by improved dense trajectories", _trajectories),
    "fuse": ("add up the scores of several models", _fuse),
    "predict": ("name the action in videos", _predict),
    "explain": ("write a video with the attention over it", _explain),
    "export": ("write a SavedModel for TF Serving", _export),
    "verify": ("compare a SavedModel with its run in a clean process", _verify),
}


_WITHOUT_TENSORFLOW = ("scan", "split", "recipes", "fuse")
_WARNED = set()


if __name__ == "__main__":
    sys.exit(main())
