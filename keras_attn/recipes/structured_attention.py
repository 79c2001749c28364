"""Recipes of Quan, Chen, Xu, Ji: Attention with Structure Regularization (CVIU 2020).

The paper reports 91.84 % on UCF-11 (mean of 5 group splits) and 48.81 % on HMDB51 split 1. Neither
has been reproduced here; `docs/results.md` holds what was measured, on which clips.

    keras-attn split --data DATA --train-groups 15 --seed 0    # UCF-11; five seeds in the paper
    keras-attn features --data DATA --backbone inception_v3
    keras-attn train structured_attention --data DATA --workdir RUN
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="structured_attention",
    arguments={
        "units": 512,  # section 4.2
        "attention": "structured",
        "block": 2,  # section 4.2: N = 4 blocks per side of an 8 x 8 map, L = 2
        "penalty": 1e-4,  # lambda, section 4.2
        "logit_tanh": True,  # eq. (7) as printed
        "dropout": 0.5,  # section 4.2
        "weight_decay": 1e-5,  # gamma, section 4.2
    },
    backbone="inception_v3",  # section 4.2
    backbone_weights="imagenet",
    clips=Clips(
        frames=30,  # T, section 4.2
        stride=2,  # d, section 4.2
        size=299,  # the paper prints 224, which gives 5 x 5 cells; its 8 x 8 cells need 299
    ),
    batch_size=8,  # ours: 2 GiB of memory are enough
    accumulate=32,  # 32 x 8 = the 256 clips of section 4.2
    epochs=10,  # section 4.2
    learning_rate=1e-4,  # Adam, section 4.2
)

MOBILENET = replace(
    PAPER,
    arguments={
        **PAPER.arguments,
        "units": 256,  # ours: two processor cores
        "logit_tanh": False,  # ours: the bounded logits train slowly
    },
    backbone="mobilenet_v2",
    # Ours: a quarter of the paper's clips; 256 pixels give the paper's 8 x 8 cells, 224 give 7 x 7.
    clips=Clips(frames=16, stride=8, size=256),
    batch_size=16,  # ours
    accumulate=1,  # ours: few clips need many updates
    learning_rate=1e-3,  # ours
)

TINY = replace(
    PAPER,
    arguments={
        **PAPER.arguments,
        "units": 64,  # ours: small enough to train end to end on two cores
        "logit_tanh": False,
        "dropout": 0.0,
    },
    cached=False,
    backbone="tiny",
    backbone_weights=None,
    train_backbone=True,
    clips=Clips(frames=16, stride=8, size=64),
    batch_size=8,
    accumulate=1,
    epochs=12,
    learning_rate=2e-3,
    select="best",
)
