"""Weights of a backbone out of a run folder: the image network of the model that was trained."""

import warnings
import zipfile
from pathlib import Path

import keras

from keras_attn.backbones import golden
from keras_attn.backbones.places import by_place, place
from keras_attn.errors import UserError

_UNREAD = ("predictions",)  # VGG-16's own classifier: no endpoint reads it


def weights_file(weights) -> Path | None:
    """The file that holds `weights`: itself, the model of a run folder, or None."""
    if weights is None:
        return None
    path = Path(weights)
    path = path / "model.keras" if path.is_dir() else path
    return path if path.is_file() else None


def load_run(network, backbone, run) -> bool:
    """Fill a network of the table's entry `backbone` with the one that the model of `run` has.

    All that the endpoints read must be there; where the model was cut does not matter otherwise.
    False where the run has seen RGB and the network is for more. Raises `UserError` for a run that
    is not finished or has another network. Nothing is changed then.
    """
    about = f"Weights of the backbone {backbone.name!r}: the run {run}"
    instead = (
        f"Train a whole one: keras-attn train frame_classifier --set backbone={backbone.name} "
        "--set input=INPUT"
    )
    model = _model(run, about)
    other = model.get_config().get("backbone")
    other = other.get("hub", "model") if isinstance(other, dict) else other
    if other != backbone.name:
        raise UserError(f"{about} has the backbone {other!r}. {instead}")
    trained = model.image_network
    channels, expected = trained.input_shape[-1], network.input_shape[-1]
    if channels == 3 != expected:
        return False
    if channels != expected:
        raise UserError(
            f"{about} was trained on {_channels(channels)}, expected {_channels(expected)}. "
            f"{instead}"
        )
    lacking = _copied(trained, network)
    if lacking:
        raise UserError(
            f"{about} has a backbone that was cut before its end: {lacking} layers with weights "
            f"are missing. {instead}"
        )
    return True


def record_run(path, model, backbone) -> None:
    """Keep the golden activations of the backbone of a trained model beside its file `path`.

    None of a backbone that was cut before its end, which is no whole network.
    """
    trained = model.image_network
    network = backbone.network(*trained.input_shape[-3:])
    if not _copied(trained, network):
        golden.record(path, {backbone.name: (network, backbone)})


def _copied(trained, network):
    """Copy the weights of a backbone, or nothing and return how many layers are missing."""
    sources, targets = _learned(trained), _learned(network)
    if [place(x.name)[0] for x in sources] != [place(x.name)[0] for x in targets]:
        return max(1, len(targets) - len(sources))
    for source, target in zip(sources, targets, strict=True):
        target.set_weights(source.get_weights())
    for layer in network.layers:
        if layer.name in _UNREAD:  # the same whenever it is loaded
            layer.set_weights([0 * values for values in layer.get_weights()])
    return 0


def run_channels(weights) -> int | None:
    """The channels of the frames that the backbone of a run has seen; None for other weights."""
    if weights is None or not Path(weights).is_dir():
        return None
    return _model(weights, f"Weights of a backbone: the run {weights}").image_network.input_shape[
        -1
    ]


def _model(run, about):
    path = Path(run) / "model.keras"
    if not path.is_file():
        raise UserError(
            f"{about} holds no finished run (no model.keras); go on with it: keras-attn train "
            "--resume"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{about} has a model.keras that cannot be loaded ({str(error).splitlines()[0]}). "
            "Remove that file and write it again with: keras-attn train --resume"
        ) from error


def _learned(network):
    """The layers with weights, in an order that does not depend on how Keras numbered them."""
    return by_place(x for x in network.layers if x.weights and x.name not in _UNREAD)


def _channels(count):
    return "RGB" if count == 3 else f"{count} channels"
