"""scripts/convert_weights.py turns what PyTorch reads into .safetensors, and nothing else."""

import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small import small_flownet
from torch_networks import random_state

from keras_attn.backbones import flownet_s
from keras_attn.errors import UserError
from keras_attn.models.segment_network import FLOW_NETWORKS
from keras_attn.utils.files import read_json

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_weights.py"


class Tensor:
    """As much of a PyTorch tensor as is used; it is no dependency."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def float(self):
        return Tensor(self.values.astype("float32"))

    def numpy(self):
        return self.values


@pytest.fixture
def convert(monkeypatch):
    """`convert(checkpoint, source, target)`, where PyTorch reads `checkpoint` from any file."""

    def call(checkpoint, source, target, **options):
        def load(path, map_location, weights_only):
            assert (path, map_location, weights_only) == (source, "cpu", True)
            if isinstance(checkpoint, Exception):
                raise checkpoint
            return checkpoint

        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=Tensor))
        return runpy.run_path(str(SCRIPT))["convert"](source, target, **options)

    return call


@pytest.mark.parametrize("wrapped", [False, True])
def test_tensors_are_written(convert, rng, tmp_path, wrapped):
    state = {"conv1.weight": rng.random((4, 3, 2, 2)), "bn1.num_batches_tracked": np.array(7)}
    tensors = {name: Tensor(values) for name, values in state.items()}
    (tmp_path / "a.pth").touch()
    checkpoint = {"state_dict": tensors, "epoch": 3} if wrapped else tensors
    assert convert(checkpoint, tmp_path / "a.pth", tmp_path / "new" / "a.safetensors") == 2
    written = load_file(tmp_path / "new" / "a.safetensors")
    assert {x.dtype for x in written.values()} == {np.dtype("float32")}
    for name, values in state.items():
        np.testing.assert_array_equal(written[name], values.astype("float32"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_frames_in_bgr(convert, rng, tmp_path):
    """The first kernel of a network of two frames; one of flow has no colors."""
    state = {"conv1.0.bias": rng.random(4), "conv1.0.weight": rng.random((4, 6, 5, 7))}
    (tmp_path / "a.pth").touch()
    tensors = {name: Tensor(values) for name, values in state.items()}
    convert(tensors, tmp_path / "a.pth", tmp_path / "a.safetensors", bgr=True)
    written = load_file(tmp_path / "a.safetensors")
    expected = state["conv1.0.weight"][:, [2, 1, 0, 5, 4, 3]].astype("float32")
    np.testing.assert_array_equal(written["conv1.0.weight"], expected)
    np.testing.assert_array_equal(written["conv1.0.bias"], state["conv1.0.bias"].astype("float32"))
    tensors["conv1.0.weight"] = Tensor(rng.random((4, 10, 5, 7)))
    with pytest.raises(UserError, match="conv1.0.weight: has 10 input channels"):
        convert(tensors, tmp_path / "a.pth", tmp_path / "b.safetensors", bgr=True)


@pytest.mark.parametrize(
    "checkpoint, source, target, message",
    [
        ({}, "a.pth", "a.pt", "must end in .safetensors"),
        ({}, "absent.pth", "a.safetensors", "absent.pth: no such file"),
        (EOFError("odd"), "a.pth", "a.safetensors", "a file of tensors only .EOFError.[.] Any"),
        ({"epoch": 3}, "a.pth", "a.safetensors", "holds no state dict"),
        ([Tensor(3)], "a.pth", "a.safetensors", "holds no state dict"),
    ],
)
def test_refusals(convert, tmp_path, checkpoint, source, target, message):
    (tmp_path / "a.pth").touch()
    with pytest.raises(UserError, match=message):
        convert(checkpoint, tmp_path / source, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_activations_are_kept_for_each_network_that_takes_the_file(rng, tmp_path):
    script = runpy.run_path(str(SCRIPT))["keep_activations"]
    script.__globals__["_BACKBONES"] = ("tiny",)  # the others take seconds to build
    with small_flownet():
        state = random_state(rng, flownet_s.flownet_s(64, 64), activation=".0")
        save_file(state, tmp_path / "flownets.safetensors")
        assert script(tmp_path / "flownets.safetensors") == list(FLOW_NETWORKS)
    kept = read_json(tmp_path / "flownets.safetensors.golden.json")["networks"]
    assert list(kept) == list(FLOW_NETWORKS)
    assert {len(networks["layers"]) for networks in kept.values()} == {10}
    save_file({"odd.weight": state["conv1.0.weight"]}, tmp_path / "odd.safetensors")
    assert script(tmp_path / "odd.safetensors") == []
    assert not (tmp_path / "odd.safetensors.golden.json").exists()


def test_without_pytorch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="Reading .pth needs the module 'torch'.*pip install torch"):
        runpy.run_path(str(SCRIPT))["convert"](tmp_path / "a.pth", tmp_path / "a.safetensors")
