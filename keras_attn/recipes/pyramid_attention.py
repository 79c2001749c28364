"""Recipes of Hu, Liu, Du, Yuan, Li, Maybank: Interaction-aware spatio-temporal pyramid attention.

The paper reports 95.3 % on UCF101 and 70.5 % on HMDB51 (RGB and flow, 25 frames, 3 splits).
Neither has been reproduced here; `docs/results.md` holds what was measured, on which clips.

    keras-attn train pyramid_attention --data DATA --workdir RUN
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="pyramid_attention",
    arguments={
        "fusion": "product",  # table 3
        "interaction": 1e-4,  # beta, section 5
        "pyramid": 1e-4,  # gamma, section 5
        "dropout": 0.5,  # section 5, RGB
    },
    # Section 5: 30,000 updates instead of 12,000. 5 flow frames are those of TSN.
    flow_changes={
        "clips.snippet": "5",
        "model.dropout": "0.7",
        "epochs": "200",
        "learning_rate": "5e-3",
        "decay_epochs": "[80, 160]",
    },
    cached=False,
    backbone="inception_resnet_v2",  # section 5
    backbone_weights="imagenet",
    train_backbone=True,
    clips=Clips(sampling="segments", frames=3, test_frames=25, size=299),  # K, section 5
    flip=True,
    random_crop=True,
    batch_size=4,  # ours: a few GiB of memory
    accumulate=16,  # 16 x 4 = the 64 videos of section 5
    epochs=80,  # 12,000 updates on split 1 of UCF101
    optimizer="sgd",  # momentum 0.9
    learning_rate=1e-3,
    decay_epochs=[27, 54],  # every 4,000 updates
    weight_decay=8e-5,  # the derivative of lambda w^2 with lambda = 4e-5
)

TSM = replace(
    PAPER,
    flow_changes={"clips.snippet": "5", "model.dropout": "0.7"},
    backbone="tsm_resnet_50",
    backbone_weights=None,  # see `backbones.convert`
    # Section 5 (iii): 8 frames of 64, one clip a video and epoch, ten to test.
    clips=Clips(sampling="dense", frames=8, step=8, test_clips=10, size=224),
    epochs=100,
    learning_rate=1e-2,
    decay_epochs=[40, 80],
)

MOBILENET = replace(
    PAPER,
    flow_changes={"clips.snippet": "5"},
    cached=True,
    backbone="mobilenet_v2",
    train_backbone=False,
    clips=Clips(sampling="segments", frames=3, test_frames=25, size=256),
    flip=False,
    random_crop=False,
    batch_size=16,  # ours
    accumulate=1,
    epochs=60,  # ours: one clip per video and epoch
    optimizer="adam",  # ours
    decay_epochs=[40],
    weight_decay=0.0,
)

TINY = replace(
    PAPER,
    arguments={**PAPER.arguments, "dropout": 0.0},
    flow_changes={"clips.snippet": "5"},
    backbone="tiny",
    backbone_weights=None,
    clips=Clips(sampling="segments", frames=8, test_frames=16, size=64),
    flip=False,  # a motion to the left is another class than one to the right
    random_crop=False,
    batch_size=8,
    accumulate=1,
    epochs=20,
    optimizer="adam",
    learning_rate=2e-3,
    decay_epochs=[],
    weight_decay=0.0,
    select="best",
)
