"""Recipes of image networks that are fine-tuned on the frames of a data set, and then cut.

The mean of the answers for the frames of a video is the row "ResNet50-ImageNet" of Meng et al. 2018
(82.30 % on UCF101, 47.78 % on HMDB51), which has not been reproduced here. The features of other
recipes are then those of the run:

    keras-attn train frame_classifier --data DATA --workdir runs/frames
    keras-attn features --data DATA --recipe where_and_when --weights runs/frames
    keras-attn train where_and_when --data DATA --workdir RUN

and with frame_classifier_vgg those of temporal_attention, for each of `--set input=rgb` and `flow`.
"""

from dataclasses import replace

from keras_attn.recipes.base import Clips, Recipe

PAPER = Recipe(
    model="frame_classifier",
    arguments={"dropout": 0.5},  # not stated
    # Not stated, for Meng et al. see RGB only; the dropout, clipping and rates of TSN.
    flow_changes={
        "clips.snippet": "5",
        "model.dropout": "0.7",
        "clip_norm": "20",
        "learning_rate": "5e-3",
    },
    cached=False,
    backbone="resnet_50",  # Meng et al., section 3.1
    backbone_weights="imagenet",
    train_backbone=True,
    clips=Clips(
        sampling="segments",
        frames=3,  # the authors' code
        test_frames=50,  # Meng et al., section 4.1
        size=224,
    ),
    flip=True,  # "preprocessing and augmentation as ImageNet", Meng et al., section 4.4
    random_crop=True,
    batch_size=8,  # ours: a few GiB of memory
    accumulate=4,  # ours
    epochs=30,  # not stated
    optimizer="sgd",  # momentum 0.9, the authors' code
    learning_rate=5e-4,  # the authors' code
    decay_epochs=[20],  # the authors' code waits for a plateau
    weight_decay=5e-4,  # not stated
    select="best",
)

# Liu, Tian, Wang 2017, section 3.1. Iterations of 256 frames are told in epochs of the 9,537
# training videos of UCF101: 4,000 are 107. On a smaller data set take as many iterations.
VGG = replace(
    PAPER,
    arguments={"dropout": 0.9},  # Wang et al. 2015, whom the paper follows
    flow_changes={
        "clips.snippet": "5",  # 10 channels
        "model.dropout": "0.8",
        "learning_rate": "5e-3",
        "epochs": "805",  # 30,000 iterations
        "decay_epochs": "[268, 537]",  # 10,000 each
    },
    backbone="vgg_16",
    clips=replace(PAPER.clips, frames=1, test_frames=25),  # one frame per video and epoch
    batch_size=16,  # ours: a few GiB of memory
    accumulate=16,  # 16 x 16 = the 256 frames of Wang et al. 2015
    epochs=268,  # 10,000 iterations
    learning_rate=1e-3,
    decay_epochs=[107, 214],
    weight_decay=5e-4,  # Wang et al. 2015
    select="last",
)

MOBILENET = replace(
    PAPER,
    backbone="mobilenet_v2",
    batch_norm="frozen",  # ours: few frames per batch
    clips=replace(PAPER.clips, test_frames=12),
    accumulate=1,  # ours
    epochs=8,  # ours
    decay_epochs=[6],
)

TINY = replace(
    PAPER,
    arguments={"dropout": 0.0},
    flow_changes={"clips.snippet": "5"},
    backbone="tiny",
    backbone_weights=None,
    clips=Clips(sampling="segments", frames=4, test_frames=8, size=64),
    flip=False,  # a motion to the left is another class than one to the right
    random_crop=False,
    accumulate=1,
    epochs=12,
    optimizer="adam",
    learning_rate=2e-3,
    decay_epochs=[],
    weight_decay=0.0,
)
