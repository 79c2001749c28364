"""Recipes for RGB and flow in one model, of Hu et al.: attention fusion, motion reinforcement.

Table 11 of the paper, on split 1 of UCF101: 95.4 % with attention fusion; 96.2 % with RGB that flow
reinforces, its scores added to those of flow and of flow without the motion of the camera. Neither
has been reproduced here.

    keras-attn extract-flow --data DATA
    keras-attn train attention_fusion --data DATA --workdir RUN
"""

from dataclasses import replace

from keras_attn.recipes import pyramid_attention


def _both(recipe, **changes):
    """The recipe on a frame and the 5 planes after it, as many as TSN stacks."""
    clips = replace(changes.pop("clips", recipe.clips), snippet=5)
    return replace(recipe, input="rgb_and_flow", flow_changes={}, clips=clips, **changes)


ATTENTION_FUSION = _both(
    pyramid_attention.PAPER,
    model="attention_fusion",
    batch_size=2,  # ours: two backbones in memory
    accumulate=32,  # 32 x 2 = the 64 videos of section 5
)
ATTENTION_FUSION_MOBILENET = _both(pyramid_attention.MOBILENET, model="attention_fusion")
ATTENTION_FUSION_TINY = _both(pyramid_attention.TINY, model="attention_fusion")

MOTION_REINFORCEMENT = _both(
    pyramid_attention.PAPER,
    backbone="resnet_50_reinforced",  # that of Feichtenhofer et al., with the settings of section 5
    clips=replace(pyramid_attention.PAPER.clips, size=224),
    epochs=100,
    learning_rate=1e-2,
    decay_epochs=[40, 80],
)
MOTION_REINFORCEMENT_MOBILENET = _both(
    pyramid_attention.MOBILENET, backbone="mobilenet_v2_reinforced"
)
