"""Recipes of Yang, Yuan, Zhang, Sun, Hu, Maybank: STA-CNN (TIP 2020).

The paper reports 95.3 % on UCF101 and 70.2 % on HMDB51 (RGB and flow, mean of 3 splits). Neither
has been reproduced here; `docs/results.md` holds what was measured, on which clips.

    keras-attn train sta_cnn --data DATA --workdir RUN --set backbone_weights=FILE.safetensors
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="sta_cnn",
    arguments={
        "attention_network": "flownet_s",  # section 3.2.1
        "groups": 3,  # TS(3x3, 3x1), section 4.2
        "keep": 1,
        "test_keep": 15,  # eq. (11)
        "aux_weight": 0.3,  # lambda of eq. (10) is not given; GoogLeNet's
        "dropout": 0.8,  # not stated; that of TSN for RGB
    },
    # Section 4.1: snippets of 5 flow frames; section 3.3: attention by the classifier's own maps.
    flow_changes={
        "clips.snippet": "5",
        "model.attention_network": "shared",
        "model.dropout": "0.7",  # not stated; that of TSN for flow
        "clip_norm": "20",  # not stated; that of TSN for flow
        "epochs": "300",
        "learning_rate": "5e-3",
        "decay_epochs": "[120, 240]",
    },
    cached=False,
    backbone="bn_inception",  # section 4.1
    backbone_weights=None,  # none that Keras could fetch; give a file, see `backbones.convert`
    train_backbone=True,
    batch_norm="partial",  # not stated; that of TSN
    clips=Clips(
        sampling="segments",
        frames=9,  # 3 segments of 3 snippets
        snippet=2,  # an RGB snippet, section 4.1
        test_frames=25,  # section 4.1
        size=224,
    ),
    flip=True,  # section 4.1
    random_crop=True,  # ours: anywhere; the paper crops corners at several scales, and ten to test
    batch_size=4,  # ours: a few GiB of memory
    accumulate=32,  # 32 x 4 = the 128 videos of section 4.1
    epochs=50,  # section 4.1
    optimizer="sgd",  # momentum 0.9, section 4.1
    learning_rate=1e-3,
    decay_epochs=[20, 40],
    weight_decay=5e-4,  # section 4.1
    clip_norm=40.0,  # not stated; that of TSN for RGB
)

MOBILENET = replace(
    PAPER,
    # Ours: the attention looks at the classifier's own features, as in the paper's flow stream, so
    # that these can be cached.
    arguments={**PAPER.arguments, "attention_network": "shared", "dropout": 0.5},
    flow_changes={"clips.snippet": "5"},
    cached=True,
    backbone="mobilenet_v2",
    backbone_weights="imagenet",
    train_backbone=False,
    batch_norm="train",
    clips=replace(PAPER.clips, snippet=1, size=256),
    flip=False,
    random_crop=False,
    batch_size=16,  # ours
    accumulate=1,
    epochs=60,  # ours: one clip per video and epoch
    optimizer="adam",  # ours
    learning_rate=1e-3,
    decay_epochs=[40],
    weight_decay=0.0,
    clip_norm=None,
)

TINY = replace(
    PAPER,
    arguments={**PAPER.arguments, "attention_network": "tiny", "test_keep": 9, "dropout": 0.0},
    flow_changes={"clips.snippet": "5", "model.attention_network": "shared"},
    backbone="tiny",
    batch_norm="train",  # this backbone has none
    clips=replace(PAPER.clips, test_frames=15, size=64),
    flip=False,  # a motion to the left is another class than one to the right
    random_crop=False,
    batch_size=8,
    accumulate=1,
    epochs=20,
    optimizer="adam",
    learning_rate=2e-3,
    decay_epochs=[],
    weight_decay=0.0,
    clip_norm=None,
    select="best",
)
