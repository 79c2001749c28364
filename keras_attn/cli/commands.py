"""What each verb of the command line does: call the function of that name and show its result."""

import dataclasses

import keras_attn
from keras_attn.errors import UsageError

DATA_PROBLEMS = 3


def _summary(summary, console) -> int:
    console.show(summary.lines(), summary.as_dict())
    return DATA_PROBLEMS if getattr(summary, "problems", ()) else 0


def scan(options, console):
    with console.counting("scanning") as progress:
        summary = keras_attn.scan(
            options.root,
            options.data,
            classes=options.classes,
            group_by=options.group_by,
            progress=progress,
            **_limits(options),
        )
    return _summary(summary, console)


def _limits(options):
    return {name: getattr(options, name) for name in ("workers", "memory_gib", "timeout")}


def split(options, console):
    summary = keras_attn.split(
        options.data,
        fractions=tuple(options.fractions),
        folds=options.folds,
        official=options.official,
        official_split=options.official_split,
        validation=options.validation,
        seed=options.seed,
        level=options.level,
        force=options.force,
    )
    return _summary(summary, console)


def prepare(options, console):
    with console.counting("preparing") as progress:
        summary = keras_attn.prepare(
            options.data,
            short_side=options.short_side,
            quality=options.quality,
            progress=progress,
            **_limits(options),
        )
    return _summary(summary, console)


def flow(options, console):
    with console.counting("flow") as progress:
        summary = keras_attn.extract_flow(
            options.data,
            options.method,
            warped=options.warped,
            width=options.width,
            height=options.height,
            workers=options.workers,
            progress=progress,
        )
    return _summary(summary, console)


def features(options, console):
    wanted = _wanted_features(options)
    with console.counting("features") as progress:
        summary = keras_attn.features(
            options.data,
            **wanted,
            weights=_weights(options),
            batch_size=options.batch_size,
            progress=progress,
        )
    return _summary(summary, console)


def _wanted_features(options):
    """Backbone, endpoint, size and stream: those given, or those that the recipe reads."""
    from keras_attn.data.streams import Stream
    from keras_attn.recipes import override

    if not options.recipe:
        kind = options.input or "rgb"
        snippet = _given(options.snippet, 1 if kind == "rgb" else 5)
        return {
            "backbone": options.backbone or "inception_v3",
            "endpoint": options.endpoint,
            "size": options.size,
            "stream": Stream(kind, options.flow_method, snippet),
        }
    recipe = _recipe(options.recipe)
    if options.input:
        recipe = override(recipe, {"input": options.input})
    if not recipe.cached:
        raise UsageError(
            f"the recipe {options.recipe} reads frames (cached=false), so that it needs no "
            "features; if you train it with cached=true, give --backbone, --endpoint and --size"
        )
    recipe = dataclasses.replace(recipe, backbone=options.backbone or recipe.backbone)
    return {
        "backbone": recipe.backbone,
        "endpoint": options.endpoint or recipe.endpoint,
        "size": _given(options.size, recipe.clips.size),
        "stream": Stream(
            recipe.input, options.flow_method, _given(options.snippet, recipe.clips.snippet)
        ),
    }


def _given(value, default):
    return default if value is None else value


def _weights(options):
    return None if options.weights.lower() == "none" else options.weights


def recipes(options, console):
    from keras_attn.recipes import RECIPES

    lines = [f"{name}: {_recipe_line(recipe)}" for name, recipe in RECIPES.items()]
    console.show(lines, {name: dataclasses.asdict(recipe) for name, recipe in RECIPES.items()})


def _recipe(name):
    from keras_attn.recipes import RECIPES

    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def train(options, console):
    from keras_attn.recipes import override

    recipe = _recipe(options.recipe)
    for change in options.set:
        if "=" not in change:
            raise UsageError(f"--set takes FIELD=VALUE, as in clips.frames=16, got {change!r}")
    recipe = override(recipe, dict(change.split("=", 1) for change in options.set))
    with console.training() as progress:
        run = keras_attn.train(
            recipe,
            options.data,
            options.workdir,
            fold=options.fold,
            resume=options.resume,
            checkpoint_seconds=options.checkpoint_seconds,
            progress=progress,
        )
    return _summary(run, console)


def _recipe_line(recipe):
    clips = recipe.clips
    frames = f"clips of {clips.frames} frames every {clips.stride}"
    if clips.sampling == "segments":
        frames = f"{clips.frames} segments a video"
    return f"{recipe.model} on {recipe.backbone} ({recipe.input}), {frames}, {recipe.epochs} epochs"


def evaluate(options, console):
    with console.counting("evaluating") as progress:
        evaluation = keras_attn.evaluate(
            options.run,
            data=options.data,
            subset=options.subset,
            examples=options.examples,
            progress=progress,
        )
    return _summary(evaluation, console)


def trajectories(options, console):
    with console.counting("trajectories") as progress:
        summary = keras_attn.score_trajectories(
            options.data,
            options.out,
            subset=options.subset,
            fold=options.fold,
            components=options.components,
            short_side=options.short_side,
            limit=options.limit,
            workers=options.workers,
            progress=progress,
        )
    return _summary(summary, console)


def fuse(options, console):
    summary = keras_attn.fuse(
        options.files,
        weights=options.weights,
        kind=options.kind,
        search=options.search,
        out=options.out,
    )
    return _summary(summary, console)


def predict(options, console):
    predictions = keras_attn.predict(options.videos, options.model, top_k=options.top_k)
    return _summary(predictions, console)


def explain(options, console):
    result = keras_attn.explain(options.video, options.model, options.out)
    console.show(result.lines(), result.as_dict())


def export(options, console):
    verification = keras_attn.export(options.run, options.destination, weights=options.weights)
    console.show(verification.lines(), verification.as_dict())


def verify(options, console):
    verification = keras_attn.verify(options.saved_model, run=options.run)
    console.show(verification.lines(), verification.as_dict())
    return 0 if verification.passed else 1
