"""Batches of random features, as the trainer sees them."""

import numpy as np

from bert_tf.models.bert.config import BertConfig


def make_pretraining_batch(config: BertConfig, *, rows: int, length: int = 16, predictions: int = 4, seed: int = 0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    weights = (np.arange(predictions) < rng.integers(1, predictions + 1, rows)[:, None]).astype(np.float32)
    return {
        "input_word_ids": (rng.integers(5, config.vocab_size, (rows, length)) * mask).astype(np.int32),
        "input_mask": mask,
        "input_type_ids": ((np.arange(length) >= 5) * mask).astype(np.int32),
        "masked_lm_positions": np.sort(rng.integers(1, length // 2, (rows, predictions)), axis=1).astype(np.int32),
        "masked_lm_ids": rng.integers(5, config.vocab_size, (rows, predictions)).astype(np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": rng.integers(0, 2, (rows, 1)).astype(np.int32),
        "next_sentence_weights": np.ones((rows, 1), np.float32),
    }


def without_pairs(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same rows as of shards that hold no pairs."""
    return {name: x for name, x in batch.items() if not name.startswith("next_sentence")}
