"""Models, one file a paper; importing this makes their saved `.keras` files loadable."""

from keras_attn.models.base import VideoClassifier, swap_input
from keras_attn.models.structured_attention import StructuredAttentionLSTM

MODELS = {
    "structured_attention": StructuredAttentionLSTM,
}

__all__ = ["MODELS", "StructuredAttentionLSTM", "VideoClassifier", "swap_input"]
