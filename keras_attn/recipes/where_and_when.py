"""Recipes of Meng et al.: Where and When to Look? (2018; ICCVW 2019 as Interpretable Attention).

The paper reports 86.02 % on UCF101 and 49.93 % on HMDB51 (RGB). Neither has been reproduced here;
`docs/results.md` holds what was measured, on which clips.

    keras-attn features --data DATA --recipe where_and_when
    keras-attn train where_and_when --data DATA --workdir RUN
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="where_and_when",
    arguments={
        "units": 512,  # section 4.1
        "total_variation": 1e-5,  # section 4.1
        "contrast": 1e-4,
        "unimodality": 1.0,
        "dropout": 0.2,  # the authors' code
    },
    backbone="resnet_50",  # section 3.1
    backbone_weights="imagenet",
    clips=Clips(sampling="segments", frames=50, size=224),  # T, section 4.1
    batch_size=5,  # ours: a few GiB of memory
    accumulate=6,  # 6 x 5 = the 30 clips of the authors' code
    epochs=50,  # not stated; the authors' code runs 200 and selects on the test set
    learning_rate=1e-4,  # Adam, the authors' code
    weight_decay=1e-4,  # the authors' code
    select="best",
)

MOBILENET = replace(
    PAPER,
    # Ours: 1280 channels are reduced to 128 first, or the head would be five times the backbone.
    arguments={**PAPER.arguments, "units": 128, "reduce": 128},
    backbone="mobilenet_v2",
    clips=Clips(sampling="segments", frames=12, size=256),
    batch_size=8,
    accumulate=1,
    epochs=30,
    learning_rate=1e-3,
    select="last",
)

TINY = replace(
    PAPER,
    arguments={**PAPER.arguments, "units": 24, "dropout": 0.0},
    cached=False,
    backbone="tiny",
    backbone_weights=None,
    train_backbone=True,
    clips=Clips(sampling="segments", frames=12, size=64),
    batch_size=8,
    accumulate=1,
    epochs=20,
    learning_rate=2e-3,
    weight_decay=0.0,
)
