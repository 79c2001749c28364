"""Networks of a recipe that start from random weights where its paper has trained ones."""

from keras_attn.recipes.base import Recipe


def untrained(recipe: Recipe) -> tuple[str, ...]:
    """Return one sentence for each network of `recipe` that should not start from random weights.

    It names the option that gives it others. The backbone "tiny" is meant to start so.
    """
    from keras_attn.backbones import BACKBONES
    from keras_attn.models.segment_network import FLOW_NETWORKS

    found, arguments = [], recipe.arguments
    if recipe.backbone_weights is None and recipe.imported is None and recipe.backbone != "tiny":
        known = BACKBONES.get(recipe.backbone)
        choices = "a file or a run, `backbone_weights=PATH`"
        if known and known.download:
            choices = f"`backbone_weights=imagenet`, or {choices}"
        if recipe.cached:
            choices = "features of a trained one: `keras-attn features --weights`"
        frozen = {"train": "", "partial": "all but the first", "frozen": "all"}[recipe.batch_norm]
        frozen = f", and {frozen} of its batch normalizations are frozen" if frozen else ""
        found.append(
            f"the backbone {recipe.backbone} starts from random weights{frozen}; the papers start "
            f"from trained ones. Give {choices}"
        )
    network = arguments.get("attention_network")
    given = arguments.get("attention_weights") or recipe.pretraining.wanted
    looks = recipe.model == "sta_cnn" and arguments.get("spatial") != "none"
    if looks and network in FLOW_NETWORKS and not given:
        found.append(
            f"the attention network {network} starts from random weights; the paper trains it on "
            "optical flow first. Give `pretraining.truth=FOLDER`, `pretraining.truth_epochs=N` and "
            "`pretraining.clips_epochs=N`, or a file, `model.attention_weights=PATH`"
        )
    return tuple(found)
