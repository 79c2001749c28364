"""Recipes of Liu, Tian, Wang: Improving human action recognition by temporal attention (ICIP 2017).

The paper reports 84.2 % on UCF101 and 54.2 % on HMDB51 for RGB alone (mean of 3 splits). Neither
has been reproduced here; `docs/results.md` holds what was measured, on which clips.

    keras-attn features --data DATA --recipe temporal_attention
    keras-attn train temporal_attention --data DATA --workdir RUN
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="temporal_attention",
    arguments={
        "units": 512,  # section 3.2
        "iterations": 30,  # D of eq. (8)
        "attention": "temporal",
        "dropout": 0.5,  # not stated
        "last": 10,  # section 3.2: the mean of the last ten iterations
    },
    flow_changes={"clips.snippet": "5"},  # 10 channels, section 3.1
    backbone="vgg_16",  # fc6, section 2.1
    backbone_weights="imagenet",  # the paper fine-tunes it on each data set first
    # Samples of 30 frames that do not overlap, section 3.2. What becomes of fewer is not stated.
    clips=Clips(frames=30, stride=30, tail="drop", size=224),
    batch_size=64,  # not stated
    epochs=30,  # not stated
    optimizer="adadelta",  # section 3.2
    learning_rate=1.0,  # of the original algorithm; Keras would take 0.001
    weight_decay=2e-5,  # gamma is not stated: 1e-5, whose square's derivative this is
)

MOBILENET = replace(
    PAPER,
    arguments={**PAPER.arguments, "units": 256, "iterations": 15},  # ours: two processor cores
    backbone="mobilenet_v2",
    clips=replace(PAPER.clips, size=256),
    batch_size=16,  # ours
)

TINY = replace(
    PAPER,
    arguments={**PAPER.arguments, "units": 64, "iterations": 8, "dropout": 0.0, "last": 4},
    cached=False,
    backbone="tiny",
    backbone_weights=None,
    train_backbone=True,
    clips=Clips(frames=16, stride=8, size=64),
    batch_size=8,
    epochs=12,
    optimizer="adam",
    learning_rate=2e-3,
    weight_decay=0.0,
    select="best",
)
