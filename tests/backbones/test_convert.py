"""Files with PyTorch's names: what is checked, what is said, and that nothing half-loads."""

import keras
import numpy as np
import pytest
from checks import assert_close
from keras import layers
from networks import network
from safetensors.numpy import save_file

from keras_attn.backbones import build_backbone, weights_hash
from keras_attn.backbones.convert import load_torch_state
from keras_attn.errors import UserError


@pytest.fixture
def model(rng):
    return keras.Sequential(
        [
            keras.Input((5, 6, 3)),
            layers.Conv2D(4, (2, 3), use_bias=False, name="stem"),
            layers.BatchNormalization(epsilon=1e-5, name="stem_bn"),
            layers.Conv2DTranspose(2, (3, 2), name="up"),
        ]
    )


@pytest.fixture
def state(rng):
    shapes = {
        "stem.weight": (4, 3, 2, 3),
        "stem_bn.weight": (4,),
        "stem_bn.bias": (4,),
        "stem_bn.running_mean": (4,),
        "stem_bn.running_var": (4,),
        "up.0.weight": (4, 2, 3, 2),
        "up.0.bias": (2,),
    }
    return {name: rng.random(shape, dtype="float32") for name, shape in shapes.items()}


def test_kernels_are_transposed(model, state, tmp_path):
    np.savez(tmp_path / "a.npz", **state)
    assert load_torch_state(model, tmp_path / "a.npz") == []
    stem, up = (model.get_layer(name).get_weights() for name in ("stem", "up"))
    for i, j, row, column in np.ndindex(3, 4, 2, 3):
        assert stem[0][row, column, i, j] == state["stem.weight"][j, i, row, column]
    for i, j, row, column in np.ndindex(4, 2, 3, 2):
        assert up[0][row, column, j, i] == state["up.0.weight"][i, j, row, column]
    assert_close(up[1], state["up.0.bias"])


@pytest.mark.parametrize("training", [False, True])
def test_a_bias_before_a_norm_is_in_its_mean(rng, model, state, tmp_path, training):
    bias = rng.random(4, dtype="float32")
    save_file(state | {"stem.bias": bias}, tmp_path / "a.safetensors")
    load_torch_state(model, tmp_path / "a.safetensors")
    images = rng.random((3, 5, 6, 3), dtype="float32")
    stem, norm = model.get_layer("stem"), model.get_layer("stem_bn")
    expected = layers.BatchNormalization(epsilon=1e-5)
    expected.build((None, None, None, 4))
    kinds = ("weight", "bias", "running_mean", "running_var")
    expected.set_weights([state[f"stem_bn.{kind}"] for kind in kinds])
    assert_close(
        norm(stem(images), training=training), expected(stem(images) + bias, training=training)
    )
    # What training made of the means still differs by the bias.
    assert_close(norm.moving_mean + bias, expected.moving_mean)


def test_what_has_no_place_is_named(model, state, tmp_path):
    more = {
        "fc.weight": np.zeros((2, 3)),
        "last_linear.bias": np.zeros(2),
        "stem_bn.num_batches_tracked": np.array(5),
        "predict_flow6.weight": np.zeros(3),
        "deconv5.0.weight": np.zeros(3),
    }
    prefixed = {f"module.base_model.{name}": x for name, x in (state | more).items()}
    save_file(prefixed, tmp_path / "a.safetensors")
    assert set(load_torch_state(model, tmp_path / "a.safetensors")) == set(more)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stem.weight": None, "up.0.bias": None}, r"; missing: stem.weight, up.bias$"),
        ({"stem_bn.running_var": None}, r"; missing: stem_bn.running_var$"),
        (
            {"layer9.weight": (3,), "fc9": (2,)},
            r"; not expected: (fc9, layer9.weight|layer9.weight, fc9)$",
        ),
        ({"stem.bias": (3,)}, r"; not expected: stem.bias$"),
        (
            {"stem.weight": (4, 3, 3, 2)},
            r"of another shape: stem.weight \(expected \(2, 3, 3, 4\) in Keras' order, got \(3, 2,",
        ),
        ({"stem_bn.weight": (4, 1)}, r"another shape: stem_bn.weight \(expected \(4,\)"),
        ({"up.0.bias": np.nan}, r"; not finite: up.0.bias$"),
        ({"stem.weight": np.inf, "up.0.weight": None}, r"missing: up.weight; not finite: stem.w"),
        ({f"x{n}": (1,) for n in range(13)}, r"; not expected: (x\d+, ){9}x\d+ and 3 more$"),
        ({"module.stem.weight": (4, 3, 2, 3)}, r"two networks.*: (module\.)?stem.weight$"),
    ],
)
def test_files_of_another_network(model, state, tmp_path, change, message):
    for name, new in change.items():
        if isinstance(new, tuple):
            state[name] = np.ones(new, "float32")
        elif new is None:
            del state[name]
        else:
            state[name].flat[1] = new
    save_file(state, tmp_path / "a.safetensors")
    before = weights_hash(model)
    with pytest.raises(UserError, match=f"(?s)a.safetensors: .*{message}"):
        load_torch_state(model, tmp_path / "a.safetensors")
    assert weights_hash(model) == before


def test_files_that_cannot_be_read(model, state, tmp_path):
    def refuses(name, message):
        with pytest.raises(UserError, match=f"(?s){name}: .*{message}"):
            load_torch_state(model, tmp_path / name)

    refuses("resnet50.pth", "convert_weights.py .*resnet50.pth .*resnet50.safetensors")
    refuses("absent.npz", "no such file")
    np.savez(tmp_path / "object.npz", **state, odd=np.array([{}], dtype=object))
    refuses("object.npz", "allow_pickle=False")
    np.savez(tmp_path / "words.npz", **state, odd=np.array(["words"]))
    refuses("words.npz", "words")
    save_file(state, tmp_path / "whole.safetensors")
    np.savez(tmp_path / "whole.npz", **state)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    refuses("array.npz", "cannot be read as arrays")
    for name in ("whole.safetensors", "whole.npz"):
        half = (tmp_path / name).read_bytes()[:300]
        for damaged in (half, b"", b"\x00" * 300):
            (tmp_path / name).write_bytes(damaged)
            refuses(name, "cannot be read as (arrays|safetensors)")


def test_keras_own_resnet_is_told_apart(tmp_path):
    with pytest.raises(UserError, match="stride .* 3x3.*resnet_50_torch.*tsm_resnet_50"):
        load_torch_state(network("resnet_50"), tmp_path / "resnet50.safetensors")


def test_backbones_take_these_files(tmp_path):
    np.savez(tmp_path / "other.npz", **{"conv1.weight": np.zeros(3)})
    with pytest.raises(UserError, match="other.npz: .*missing: conv_1.weight, .*conv1.weight"):
        build_backbone("tiny", weights=tmp_path / "other.npz")
