"""The `Shapes:` lines of public layers and losses are executed: each letter is another prime."""

import ast
import inspect
import re

import keras
import numpy as np
import pytest
from checks import BACKEND
from keras import ops

from keras_attn import layers, losses
from keras_attn.backbones.pixels import NormalizePixels
from keras_attn.backbones.tiny import AppendMoments
from keras_attn.flow.tvl1 import TVL1
from keras_attn.layers.pyramid_attention import AttentionPenalties

pytestmark = pytest.mark.skipif(
    BACKEND == "jax", reason="shapes are those of any backend, and JAX compiles each operation"
)
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
REST = (2, 3)  # what three dots stand for

# === A line and what it says ===


def lines(function):
    """The pairs (inputs, outputs) of the paragraph that begins with "Shapes:"."""
    found = re.search(r"^Shapes: (.*?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.S | re.M)
    spans = re.findall(r"`([^`]*->[^`]*)`", found.group(1)) if found else []
    pairs = [[" ".join(side.split()) for side in span.split("->")] for span in spans]
    return [tuple(ast.parse(side, mode="eval").body for side in pair) for pair in pairs]


def sizes(*sides):
    """A prime for each letter; lower-case ones, those of the smaller maps, get the smaller ones."""
    names = {n.id for side in sides for n in ast.walk(side) if isinstance(n, ast.Name)}
    names = sorted(names, key=lambda name: (name[0].isupper(), name))
    return dict(zip(names, PRIMES, strict=False))


def number(node, letters):
    if isinstance(node, ast.BinOp):
        left, right = number(node.left, letters), number(node.right, letters)
        return left * right if isinstance(node.op, ast.Mult) else left + right
    return letters[node.id] if isinstance(node, ast.Name) else node.value


def shapes(node, letters):
    """The shape that an expression means, or a list or dict of shapes."""
    if isinstance(node, ast.Dict):
        values = [shapes(value, letters) for value in node.values]
        return dict(zip([key.value for key in node.keys], values, strict=True))
    if any(isinstance(item, ast.Tuple | ast.List) for item in node.elts):
        return [shapes(item, letters) for item in node.elts]
    axes = ((number(axis, letters),) if not _dots(axis) else REST for axis in node.elts)
    return tuple(size for part in axes for size in part)


def _dots(node):
    return isinstance(node, ast.Constant) and node.value is Ellipsis


# === What a line leaves open: arguments that letters stand for, states, shared inputs ===


def _attended(d):
    cell = layers.AttendedLSTMCell(d["U"], d["L"], d["C"])
    return lambda step: cell(step, [ops.zeros((d["B"], d["U"]))] * 4)[0]


def _conv_lstm(d):
    cell = layers.ConvLSTMAttentionCell(d["U"], attention_units=9)
    frames = ops.ones((d["B"], d["T"], 2, 3, 4 * d["U"]))
    cell.sequence = ops.ones((d["B"], d["T"], 9)), frames, None
    return lambda tick: cell(tick, [ops.zeros((d["B"], 2, 3, d["U"]))] * 2)[0]


def _reattending(d):
    cell = layers.ReattendingLSTMCell(d["U"], d["D"])
    cell.sequence = ops.ones((d["B"], d["T"])), ops.ones((d["B"], d["T"], d["D"])), None
    return lambda step: cell(step, [ops.zeros((d["B"], d["U"]))] * 4)[0]


def _selected(d):
    image = keras.Input((d["h"], d["w"], d["C"]))
    logits = keras.layers.Dense(d["K"])(keras.layers.GlobalAveragePooling2D()(image))
    return layers.SelectedSegments(keras.Model(image, {"logits": logits}), groups=2)


FUNCTIONS = {
    layers.AdaptiveMaxPool: lambda d: layers.AdaptiveMaxPool((d["h"], d["w"])),
    layers.AttendedLSTM: lambda d: layers.AttendedLSTM(d["U"]),
    layers.AttendedLSTMCell: _attended,
    layers.ConfidencePool: lambda d: layers.ConfidencePool(),
    layers.ConvLSTMAttention: lambda d: layers.ConvLSTMAttention(d["U"]),
    layers.ConvLSTMAttentionCell: _conv_lstm,
    layers.LocationAttention: lambda d: layers.LocationAttention(),
    layers.PerFrame: lambda d: layers.PerFrame(keras.layers.ReLU()),
    layers.Penalty: lambda d: layers.Penalty(keras.regularizers.L2()),
    layers.PyramidAttention: lambda d: layers.PyramidAttention(),
    layers.ReattendingLSTM: lambda d: layers.ReattendingLSTM(d["U"], d["I"]),
    layers.ReattendingLSTMCell: _reattending,
    layers.SaliencyMask: lambda d: layers.SaliencyMask(),
    layers.SelectedSegments: _selected,
    layers.TemporalShift: lambda d: layers.TemporalShift(),
    layers.WeightedPool: lambda d: layers.WeightedPool(),
    AppendMoments: lambda d: AppendMoments(),
    AttentionPenalties: lambda d: AttentionPenalties(),
    NormalizePixels: lambda d: NormalizePixels(128.0, 64.0),
    TVL1: lambda d: TVL1(scales=1, warps=1, iterations=1),
}
COUNTS = (losses.block_starts, losses.uncovered_cells)  # of numbers, not of tensors
LOSSES = [f for f in vars(losses).values() if inspect.isfunction(f) and f not in COUNTS]


def check(function, inputs, outputs):
    """Call with arrays of the shapes that a line names and compare those of its outputs."""
    letters = sizes(inputs, outputs)
    arguments, expected = shapes(inputs, letters), shapes(outputs, letters)
    arguments = arguments if isinstance(arguments, list) else [arguments]
    if isinstance(inputs, ast.List):
        arguments = [arguments]
    if function in FUNCTIONS:
        function = FUNCTIONS[function](letters)
    arrays = keras.tree.map_shape_structure(lambda s: np.full(s, 0.5, "float32"), arguments)
    found = keras.tree.map_structure(lambda x: tuple(x.shape), function(*arrays))
    found = list(found) if isinstance(expected, list) else found
    assert found == expected, f"{found} where the line says {expected}, of {letters}"


@pytest.mark.parametrize("function", [*FUNCTIONS, *LOSSES], ids=lambda f: f.__name__)
def test_shapes_are_those_of_the_docstring(function):
    assert lines(function), f"{function.__name__} must say `Shapes: ...`"
    for inputs, outputs in lines(function):
        check(function, inputs, outputs)


def test_every_public_layer_is_here():
    assert {getattr(layers, name) for name in layers.__all__} <= set(FUNCTIONS)


@pytest.mark.parametrize(
    "function, line",
    [
        (layers.AttendedLSTM, "(B, T, h, w, C) -> (B, T, U), (B, T, w, h)"),
        (layers.AttendedLSTM, "(B, T, h, w, C) -> (B, T, U)"),
        (layers.ReattendingLSTM, "(B, T, D) -> (B, I, U), (B, T, I)"),
        (layers.WeightedPool, "(B, T, h, w, C), (B, T, h, w) -> (B, T, h)"),
        (AppendMoments, "(b, h, w, C) -> (b, h, w, 2*C)"),
        (layers.SelectedSegments, '(B, S, h, w, C) -> {"logits": (B, S, K)}'),
        (losses.contrast, "(B, T, h, w) -> (B,)"),
    ],
)
def test_a_wrong_line_is_noticed(function, line):
    def documented():
        pass

    documented.__doc__ = f"Does this.\n\nShapes: `{line}`, and more.\n"
    ((inputs, outputs),) = lines(documented)
    with pytest.raises(AssertionError, match="where the line says"):
        check(function, inputs, outputs)
