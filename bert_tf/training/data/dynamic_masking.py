"""Masked-LM selection in training, for shards without masks: every epoch hides other tokens (Liu et al. 2019, 4.1)."""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.text.vocabulary import CLS, MASK, SEP, Vocabulary


class Masking(NamedTuple):
    """How to mask.

    Attributes:
      vocabulary: of the shards.
      masked_lm_prob: share of a row's tokens, special tokens counted as google-research/bert does.
      max_predictions_per_seq: of a row, at most.
    """

    vocabulary: Vocabulary
    masked_lm_prob: float
    max_predictions_per_seq: int


def mask(
    batch: dict[str, tf.Tensor], masking: Masking, *, seed: list[int], number: tf.Tensor, parts: range
) -> dict[str, tf.Tensor]:
    """Adds masked_lm_positions, _ids and _weights to a batch and hides the chosen tokens of input_word_ids.

    A row has min(max_predictions_per_seq, max(1, round(n * masked_lm_prob))) predictions, n with special tokens; 80% of
    them become [MASK], 10% a token drawn from the whole vocabulary, 10% stay (Devlin et al. 2018, 3.1).

    Args:
      batch: int32 [rows, length] each; blank rows get no prediction.
      seed: int [2].
      number: scalar int64, of the batch in the run.
      parts: numbers of the equal parts that the batch consists of. What is drawn for a part depends on (seed, number,
        part) only, so it is the same wherever the part is read.
    """
    vocabulary = masking.vocabulary
    word_ids = batch["input_word_ids"]
    rows, length = word_ids.shape[0] or tf.shape(word_ids)[0], word_ids.shape[1]
    width = min(masking.max_predictions_per_seq, length)
    is_special = (word_ids == vocabulary[CLS]) | (word_ids == vocabulary[SEP])
    maskable = (batch["input_mask"] == 1) & ~is_special

    seeds = [_fold(seed, number, tf.constant(part, tf.int64)) for part in parts]
    each = rows // len(parts)

    def draw(stage: int, columns: int) -> tf.Tensor:
        drawn = [tf.random.stateless_uniform([each, columns], _fold(s, tf.constant(stage))) for s in seeds]
        return tf.concat(drawn, axis=0)

    tokens = tf.reduce_sum(batch["input_mask"], axis=1)
    share = tf.cast(tf.round(tf.cast(tokens, tf.float32) * masking.masked_lm_prob), tf.int32)
    wanted = tf.minimum(tf.maximum(share, 1), width)
    wanted = tf.minimum(wanted, tf.reduce_sum(tf.cast(maskable, tf.int32), axis=1))
    # The positions with the largest of independent uniform keys are a uniform choice without replacement.
    positions = tf.math.top_k(tf.where(maskable, draw(0, length), -1.0), k=width).indices
    is_prediction = tf.range(width) < wanted[:, None]
    # Ascending, with the unused places behind.
    positions = tf.sort(tf.where(is_prediction, positions, length), axis=1)
    positions = tf.where(is_prediction, positions, 0)

    original = tf.gather(word_ids, positions, batch_dims=1)
    action = draw(1, width)
    random_ids = tf.cast(draw(2, width) * float(len(vocabulary)), tf.int32)
    replacement = tf.where(action < 0.9, tf.minimum(random_ids, len(vocabulary) - 1), original)
    replacement = tf.where(action < 0.8, vocabulary[MASK], replacement)
    # Unused places all point at position 0; they add nothing there.
    change = tf.where(is_prediction, replacement - original, 0)
    row_numbers = tf.broadcast_to(tf.range(rows)[:, None], tf.shape(positions))
    masked = tf.tensor_scatter_nd_add(word_ids, tf.stack([row_numbers, positions], axis=-1), change)
    missing = [[0, 0], [0, masking.max_predictions_per_seq - width]]
    return {
        **batch,
        "input_word_ids": masked,
        "masked_lm_positions": tf.pad(positions, missing),
        "masked_lm_ids": tf.pad(tf.where(is_prediction, original, 0), missing),
        "masked_lm_weights": tf.pad(tf.cast(is_prediction, tf.float32), missing),
    }


def _fold(seed, *values) -> tf.Tensor:
    seed = tf.convert_to_tensor(seed, tf.int64)
    for value in values:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(value, tf.int64))
    return seed
