"""BERT's config and its published sizes. Standard library only."""

import dataclasses
from typing import Literal

from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError, require
from bert_tf.core.section import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(EncoderConfig):
    """The network. Field names and meanings are those of transformers' BertConfig."""

    model_type: Literal["bert"] = "bert"
    hidden_size: int = bounded(768, at_least=1)
    num_hidden_layers: int = bounded(12, at_least=1)
    num_attention_heads: int = bounded(12, at_least=1)
    intermediate_size: int = bounded(3072, at_least=1)  # 4 x hidden_size in every published model
    hidden_act: Literal["gelu", "gelu_new"] = "gelu"  # gelu: erf form; gelu_new: tanh form, google-research/bert
    hidden_dropout_prob: float = bounded(0.1, at_least=0, below=1)
    attention_probs_dropout_prob: float = bounded(0.1, at_least=0, below=1)
    max_position_embeddings: int = bounded(512, at_least=1)
    type_vocab_size: int = bounded(2, at_least=1)
    initializer_range: float = bounded(0.02, above=0)  # standard deviation of a truncated normal
    layer_norm_eps: float = bounded(1e-12, above=0)

    def __post_init__(self):
        super().__post_init__()
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "model.hidden_size must be divisible by model.num_attention_heads",
            f"{self.hidden_size} and {self.num_attention_heads}",
        )


# Layers, width and heads; the feed-forward width is four times the width. Turc et al. 2019 and Devlin et al. 2018.
PRESETS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def preset(name: str, **changes) -> BertConfig:
    """A published size: tiny, mini, small, medium, base or large, with fields changed by name."""
    if name not in PRESETS:
        raise InputError(f"preset must be one of {', '.join(PRESETS)}. Received: {name}.")
    layers, width, heads = PRESETS[name]
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    return BertConfig(**{**sizes, "intermediate_size": 4 * width, **changes})
