"""KerasHub's vision transformers as backbones: `hub:PRESET`, or `hub:FOLDER` without a network.

KerasHub is an optional dependency, imported when a backbone is asked for. Class and register tokens
are dropped and the others become cells (h, w) = (H, W) / patch size. The scale of the pixels is
that of the preset's image converter; its resizing and cropping are not taken over.
"""

import difflib
import functools
from pathlib import Path

import keras
from keras import layers

from keras_attn.backbones.hub_families import FAMILIES
from keras_attn.backbones.pixels import PixelScale
from keras_attn.backbones.spec import Backbone, Endpoint
from keras_attn.errors import UserError, require

PREFIX = "hub:"


def find(name) -> Backbone:
    """The `Backbone` of `hub:PRESET` or `hub:FOLDER`; its weights are not read yet.

    Raises `ValueError` for a preset or folder that does not exist or is of another kind, and
    `UserError` without KerasHub or where a preset cannot be fetched.
    """
    preset = name.removeprefix(PREFIX)
    folder = Path(preset)
    # A folder may be written anew under the same name.
    written = (folder / "config.json").stat().st_mtime_ns if _is_folder(preset) else None
    return _found(name, preset, written)


@functools.lru_cache(maxsize=16)
def _found(name, preset, written):
    hub = _library()
    vision = _vision(_loaded(hub.models.Backbone, name, preset, load_weights=False))
    if type(vision).__name__ not in FAMILIES:
        raise ValueError(
            f"backbone {name!r} must be one of {', '.join(FAMILIES)}, got {type(vision).__name__}"
        )
    converter = _loaded(hub.layers.ImageConverter, name, preset)
    mean, deviation = _pixel_scale(converter)
    serialized = keras.saving.serialize_keras_object(vision)
    config = {key: serialized[key] for key in ("module", "class_name", "registered_name")}
    # Of the process: a name would be part of the layers' names, a policy would outlast it.
    drop = ("name", "dtype", "trainable")
    config["config"] = {k: v for k, v in serialized["config"].items() if k not in drop}
    return from_config({"hub": name, "model": config, "mean": mean, "deviation": deviation})


def from_config(config) -> Backbone:
    """The `Backbone` that `config` of another describes; the preset is not needed for it."""
    _library()
    model, name = config["model"], config["hub"]
    arguments, family = model["config"], FAMILIES[model["class_name"]]
    channels, blocks = arguments["hidden_dim"], family.blocks(arguments)
    names = [f"block_{number}" for number in range(1, blocks)]
    endpoints = {at: Endpoint(at, channels) for at in (*names, "last", "pooled")}
    levels = sorted({max(blocks // 3, 1), max(2 * blocks // 3, 1)} - {blocks})
    text = f"RGB, (pixels - {config['mean']}) / {config['deviation']}"
    patch = _patch(arguments["patch_size"])
    height, width, _ = arguments["image_shape"]
    return Backbone(
        name=name,
        network=functools.partial(_network, name, model),
        endpoints=endpoints,
        endpoint="last",
        pyramid=(*(f"block_{number}" for number in levels), "last"),
        size=height,
        minimum_size=patch,
        pixels=PixelScale(text, tuple(config["mean"]), tuple(config["deviation"])),
        description=f"{model['class_name']} of KerasHub, {height // patch}x{width // patch}x"
        f"{channels} at {height} pixels",
        weights_file='an HDF5 file (.weights.h5) of this network, or "preset" for the preset\'s.',
        fill=functools.partial(_fill, name, model),
        per_frame=not family.clips,
        frames=arguments["num_frames"] if family.clips else None,
        tail=False,
        config=config,
    )


# === Presets ===


def _library():
    return require("keras_hub", 'A backbone "hub:..."')


def _is_folder(preset):
    return (Path(preset) / "config.json").is_file()


def _loaded(kind, name, preset, **options):
    """`kind.from_preset`, its errors in terms of the argument `backbone`."""
    known = _library().models.Backbone.presets
    remote = "://" in preset
    if preset not in known and not remote and not _is_folder(preset):
        close = difflib.get_close_matches(preset, known, 3)
        meant = f"; did you mean {' or '.join(PREFIX + one for one in close)}?" if close else ""
        raise ValueError(
            f"backbone must be hub: and a preset of KerasHub, or a folder with config.json that "
            f"`save_to_preset` wrote, got {name!r}{meant}"
        )
    try:
        return kind.from_preset(preset, **options)
    except Exception as error:
        # KerasHub, Kaggle's client and h5py raise whatever comes.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if _is_folder(preset):
            raise ValueError(
                f"backbone {name!r}: the folder cannot be read as {kind.__name__} ({reason}). It "
                "needs both a backbone and an image converter: `save_to_preset` of each"
            ) from error
        raise UserError(
            f"backbone {name!r}: the preset could not be fetched ({reason}). Without a "
            "connection, save it elsewhere with `save_to_preset(FOLDER)`, of the backbone and of "
            "its image converter, and give `backbone` as hub:FOLDER"
        ) from error


def _vision(backbone):
    """The vision part of a model of images and texts."""
    return getattr(backbone, "vision_encoder", backbone)


def _pixel_scale(converter):
    """Mean and deviation of each channel from `pixels * scale + offset`."""
    scale, offset = (
        [float(x) for x in (values if hasattr(values, "__len__") else [values] * 3)]
        for values in (
            1.0 if converter.scale is None else converter.scale,
            0.0 if converter.offset is None else converter.offset,
        )
    )
    return [-b / a for a, b in zip(scale, offset, strict=True)], [1 / a for a in scale]


# === Networks ===


def _patch(patch):
    return patch if isinstance(patch, int) else patch[0]


def _network(name, model, height, width, channels):
    return _of(_built(name, model, height, width, channels))


def _fill(name, model, network):
    """Give `network` the weights of the preset."""
    options = _resized(name, model, *network.input_shape[-3:])
    loaded = _loaded(_library().models.Backbone, name, name.removeprefix(PREFIX), **options)
    network.set_weights(_of(_vision(loaded)).get_weights())


def _built(name, model, height, width, channels):
    resized = _resized(name, model, height, width, channels)
    config = {**model, "config": {**model["config"], **resized}}
    return keras.saving.deserialize_keras_object(config)


def _resized(name, model, height, width, channels):
    """The arguments for frames of this size; `ValueError` if there are none."""
    own, patch = tuple(model["config"]["image_shape"]), _patch(model["config"]["patch_size"])
    if channels != 3:
        raise ValueError(f"channels must be 3, RGB, for the backbone {name}, got {channels}")
    if (height, width) == own[:2]:
        return {}
    if not FAMILIES[model["class_name"]].resizes:
        raise ValueError(
            f"size must be {own[0]}x{own[1]} pixels for the backbone {name}, whose position "
            f"embeddings are for that size, got {height}x{width}"
        )
    if height != width or height % patch:
        raise ValueError(
            f"size must be a square of a multiple of {patch} pixels for the backbone {name}, got "
            f"{height}x{width}"
        )
    return {"image_shape": (height, width, 3)}


def _of(backbone):
    """From normalized frames or clips to the maps of all blocks, by the layers of `backbone`."""
    family = FAMILIES[type(backbone).__name__]
    height, width, _ = backbone.image_shape
    patch = _patch(backbone.patch_size)
    cells = (height // patch, width // patch, backbone.hidden_dim)
    frames = keras.Input((*([backbone.num_frames] if family.clips else []), *backbone.image_shape))
    maps = family.run(backbone, frames, cells)
    names = [f"block_{number}" for number in range(1, len(maps))] + ["last"]
    named = [layers.Identity(name=at)(x) for at, x in zip(names, maps, strict=True)]
    return keras.Model(frames, named, name="network")
