"""The network of one segment of STA-CNN: features of a snippet, where to look, logits."""

import functools

import keras
from keras import layers, ops

from keras_attn.backbones import build_backbone, features_input, flownet_s, golden
from keras_attn.backbones.model_input import check_maps, warn_of_random_weights
from keras_attn.backbones.weights import load_weights_file
from keras_attn.layers import LocationAttention, WeightedPool

# Arguments of flownet_s.contracting, by name; at 224 pixels the maps are 7x7, 4x4 and 7x7.
FLOW_NETWORKS = {
    "flownet_s": {"last_stride": 1},
    "flownet_s_strided": {},
    "flownet_s_pooled": {"last_stride": 1, "pooling": "max"},
}


def segment_input(backbone, input_shape, weights, shared):
    """The inputs of a model, its segments, and of one segment the input and the features.

    A backbone of clips runs once, before the segments are told apart; any other is part of the
    network of a segment.
    """
    if backbone and not backbone.per_frame:
        if not shared:
            raise ValueError(
                f'attention_network must be "shared" for the backbone {backbone.name}, which sees '
                "all segments at once"
            )
        inputs, segments = features_input(backbone, input_shape, weights)
        check_maps(segments, backbone)
        snippet = features = keras.Input(segments.shape[2:], name="snippet")
        return inputs, segments, snippet, features
    segments = keras.Input(input_shape, name="video" if backbone else "features")
    snippet = keras.Input(input_shape[1:], name="snippet")
    features = backbone_features(snippet, backbone, weights, shared)
    return {segments.name: segments}, segments, snippet, features


def backbone_features(snippet, backbone, weights, shared):
    """The backbone's features of a snippet `(b, H, W, 3L)`; without a backbone it is these."""
    if backbone is None:
        return snippet
    frames = snippet if shared else snippet[..., :3]
    *size, channels = frames.shape[1:]
    warn_of_random_weights(backbone, weights)
    network = build_backbone(backbone, size, weights, channels=channels)
    if len(network.output.shape) != 4:
        raise ValueError(f"backbone must give a map for each frame, got {backbone.name!r}")
    return keras.Model(network.input, network.output, name="backbone")(frames)


def attention_features(snippet, name, weights):
    """The features of an attention network of its own for a snippet `(b, H, W, 6)`."""
    size = snippet.shape[1:3]
    if name == "tiny":
        build = functools.partial(build_backbone, "tiny", size, channels=6)
    else:
        build = functools.partial(flownet_s.contracting, *size, **FLOW_NETWORKS[name])
    network = build()
    if weights is not None:
        expected = (
            f"a file that FlowPretraining(attention_network={name!r}) wrote (.weights.h5), or "
            "public weights of FlowNetS (.safetensors or .npz; scripts/convert_weights.py makes "
            "them of .pth)."
        )
        load_weights_file(network, weights, name, expected)
        golden.check(weights, name, build, network)
    return keras.Model(network.input, network.output, name="attention_network")(snippet)


def segment_outputs(features, attended, num_classes, aux_weight, dropout):
    """Logits and weights of one segment; the mean over the cells where nothing is `attended`."""
    outputs = {}
    height, width = features.shape[1:3]
    if attended is None:
        weights = ops.zeros_like(features[..., 0]) + 1 / (height * width)
    else:
        weights = LocationAttention((height, width), name="location_attention")(attended)
        if aux_weight:
            mean = layers.GlobalAveragePooling2D(name="aux_mean")(attended)
            aux_classifier = _classifier(num_classes, "aux_classifier", use_bias=False)
            outputs["aux_logits"] = aux_classifier(mean)  # eq. (5)
    pooled = WeightedPool(name="weighted_pool")(features, weights)  # eq. (9)
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    logits = _classifier(num_classes, "classifier")(pooled)
    return {**outputs, "logits": logits, "spatial_attention": weights}


def _classifier(num_classes, name, use_bias=True):
    start = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Dense(num_classes, use_bias=use_bias, kernel_initializer=start, name=name)
