"""The public PyTorch networks in NumPy, from their state dicts, and random states for them.

Channels first and with PyTorch's borders, written from the published module definitions.
"""

import re

import numpy as np

KINDS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
KINDS |= {"kernel": "weight", "moving_variance": "running_var"}


def random_state(rng, model, activation=""):
    """A state dict for a Keras model, whose convolutions and norms are named as in PyTorch."""
    state = {}
    for weight in model.weights:
        layer, kind = weight.path.split("/")[-2:]
        value = rng.standard_normal(weight.shape, dtype="float32")
        if kind == "kernel":
            value = value.transpose(3, 2, 0, 1) / np.sqrt(np.prod(weight.shape[:3]))
            layer += activation if layer.startswith(("conv", "deconv")) else ""
        elif kind == "bias":
            layer += activation
        elif kind in ("gamma", "moving_variance"):
            value = np.exp(value / 4)
        state[f"{layer}.{KINDS.get(kind, kind)}"] = np.ascontiguousarray(value)
    return state


def convolved(x, kernel, stride=1, bias=None):
    filters, _, side, _ = kernel.shape
    x = np.pad(x, [(0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)])
    rows, columns = ((size - side) // stride + 1 for size in x.shape[2:])
    y = np.zeros((filters, len(x), rows, columns))
    for i, j in np.ndindex(side, side):
        window = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
        y += np.tensordot(kernel[:, :, i, j], window[:, :, :rows, :columns], (1, 1))
    y = y if bias is None else y + bias[:, None, None, None]
    return y.swapaxes(0, 1)


def transposed(x, kernel):
    """4x4, stride 2, padding 1."""
    batch, _, rows, columns = x.shape
    y = np.zeros((kernel.shape[1], batch, 2 * rows + 2, 2 * columns + 2))
    for i, j in np.ndindex(4, 4):
        y[:, :, i : i + 2 * rows : 2, j : j + 2 * columns : 2] += np.tensordot(
            kernel[:, :, i, j], x, (0, 1)
        )
    return y.swapaxes(0, 1)[:, :, 1:-1, 1:-1]


def pooled(x, reduce, stride, before, after, border):
    x = np.pad(x, [(0, 0), (0, 0), (before, after), (before, after)], constant_values=border)
    rows, columns = ((size - 3) // stride + 1 for size in x.shape[2:])
    y = np.empty((*x.shape[:2], rows, columns))
    for i, j in np.ndindex(rows, columns):
        top, left = stride * i, stride * j
        y[:, :, i, j] = reduce(x[:, :, top : top + 3, left : left + 3], axis=(2, 3))
    return y


def halved(x):
    """MaxPool2d(3, 2, ceil_mode=True): of an even size the last window is partial."""
    return pooled(x, np.max, 2, 0, 1, -np.inf)


def normed(state, name, x):
    mean, variance, gamma, beta = (
        state[f"{name}.{kind}"][:, None, None]
        for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


def bn_inception(state, x):
    """The map of each block, activated."""

    def step(name, x, stride=1):
        x = convolved(x, state[f"{name}.weight"], stride, state[f"{name}.bias"])
        return relu(normed(state, f"{name}_bn", x))

    x = halved(step("conv1_7x7_s2", x, 2))
    x = halved(step("conv2_3x3", step("conv2_3x3_reduce", x)))
    maps = {}
    for name in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        block, stride = f"inception_{name}", 2 if name in ("3c", "4e") else 1
        branches = [] if stride == 2 else [step(f"{block}_1x1", x)]
        branches.append(step(f"{block}_3x3", step(f"{block}_3x3_reduce", x), stride))
        double = step(f"{block}_double_3x3_1", step(f"{block}_double_3x3_reduce", x))
        branches.append(step(f"{block}_double_3x3_2", double, stride))
        if stride == 2:
            branches.append(halved(x))
        else:
            pool = (np.max, 1, 1, 1, -np.inf) if name == "5b" else (np.mean, 1, 1, 1, 0.0)
            branches.append(step(f"{block}_pool_proj", pooled(x, *pool)))
        maps[name] = x = np.concatenate(branches, axis=1)
    return maps


def resnet(state, x, frames=None):
    """The map of each block; with `frames`, of TSM, whose clips lie in the batch."""

    def step(name, norm, x, stride=1):
        return normed(state, norm, convolved(x, state[f"{name}.weight"], stride))

    x = pooled(relu(step("conv1", "bn1", x, 2)), np.max, 2, 1, 1, -np.inf)
    maps = {}
    for name in dict.fromkeys(re.findall(r"layer\d\.\d", " ".join(state))):
        stride = 2 if re.fullmatch(r"layer[234]\.0", name) else 1
        y = x if frames is None else shifted(x, frames)
        y = relu(step(f"{name}.conv1", f"{name}.bn1", y))
        y = relu(step(f"{name}.conv2", f"{name}.bn2", y, stride))
        y = step(f"{name}.conv3", f"{name}.bn3", y)
        if name.endswith("0"):
            x = step(f"{name}.downsample.0", f"{name}.downsample.1", x, stride)
        maps[name] = x = relu(x + y)
    return maps


def shifted(x, frames):
    y, folds = x.copy(), x.shape[1] // 8
    for index in range(len(x)):
        first, last = index % frames == 0, index % frames == frames - 1
        y[index, :folds] = 0 if last else x[index + 1, :folds]
        y[index, folds : 2 * folds] = 0 if first else x[index - 1, folds : 2 * folds]
    return y


def flownet_s(state, x):
    """The last map, and flow from fine to coarse."""

    def step(name, x, stride=1):
        weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
        return leaky(convolved(x, weight, stride, bias))

    def leaky(x):
        return np.where(x > 0, x, 0.1 * x)

    beside = {2: step("conv2", step("conv1", x, 2), 2)}
    for level in (3, 4, 5, 6):
        beside[level] = step(f"conv{level}_1", step(f"conv{level}", beside[level - 1], 2))
    x = beside[6]
    flows = [convolved(x, state["predict_flow6.weight"])]
    for level in (5, 4, 3, 2):
        rows, columns = beside[level].shape[2:]
        flow = transposed(flows[0], state[f"upsampled_flow{level + 1}_to_{level}.weight"])
        x = leaky(transposed(x, state[f"deconv{level}.0.weight"]))
        parts = [beside[level], x[:, :, :rows, :columns], flow[:, :, :rows, :columns]]
        x = np.concatenate(parts, axis=1)
        flows.insert(0, convolved(x, state[f"predict_flow{level}.weight"]))
    return beside[6], flows
