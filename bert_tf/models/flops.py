"""Floating-point operations of the matrix products of a forward pass: 2 n m k for [n, k] times [k, m]."""

from bert_tf.core.config import BertConfig


def encoder(config: BertConfig, *, rows: int, length: int) -> float:
    """All layers for `rows` rows of `length` positions; padding is computed too."""
    width, inner, positions = config.hidden_size, config.intermediate_size, rows * length
    projections = 2 * positions * (4 * width * width + 2 * width * inner)
    attention = 2 * 2 * positions * length * width  # scores, and the weighted sum of values
    return float(config.num_hidden_layers * (projections + attention))


def masked_lm_head(config: BertConfig, *, predictions: int) -> float:
    """Transform and output matrix for `predictions` positions of all rows together."""
    return 2.0 * predictions * config.hidden_size * (config.hidden_size + config.vocab_size)
