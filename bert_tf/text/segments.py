"""Segments of token ids -> rows of the encoder: truncation, special tokens, padding, in core TensorFlow ops.

TF Text has trimmers for some of this, whose ops older TF Serving releases lack.
"""

from collections.abc import Sequence

import tensorflow as tf

LONGEST_FIRST, ONLY_FIRST, ONLY_SECOND = TRUNCATIONS = ("longest_first", "only_first", "only_second")


def kept_lengths(lengths: tf.Tensor, budget: int, truncation: str, *, odd_to_longest: bool = False) -> tf.Tensor:
    """How many tokens of each segment are kept.

    Args:
      lengths: int [n, segments].
      budget: most tokens of all segments of a row together.
      truncation: "longest_first" takes one token after the other from the end of the longest segment, of equally long
        ones from the last, as google-research/bert does; "only_first" and "only_second" take from that segment, and
        from the others, longest first, only once nothing of it is left.
      odd_to_longest: what cannot be shared evenly stays with the longest segment, of equally long ones with the last,
        as transformers' fast tokenizers do; otherwise with the first.

    Returns:
      int [n, segments], at most `budget` in a row.
    """
    if truncation != LONGEST_FIRST:
        shrunk = TRUNCATIONS.index(truncation) - 1
        others = tf.reduce_sum(lengths, axis=1) - lengths[:, shrunk]
        left = tf.clip_by_value(budget - others, 0, lengths[:, shrunk])
        lengths = tf.concat([lengths[:, :shrunk], left[:, None], lengths[:, shrunk + 1 :]], axis=1)
    count = lengths.shape[1]
    # If the j shortest segments stay whole, the others share what is left; the true level is the best of these.
    shortest = tf.cumsum(tf.sort(lengths, axis=1), axis=1, exclusive=True)
    sharers = tf.range(count, 0, -1, dtype=lengths.dtype)
    level = tf.reduce_max((budget - shortest) // sharers, axis=1, keepdims=True)
    kept = tf.minimum(lengths, level)
    spare = budget - tf.reduce_sum(kept, axis=1, keepdims=True)
    # Of those that were cut, as many as there are spare tokens keep one more.
    order = tf.range(count, dtype=lengths.dtype)
    priority = lengths * count + order if odd_to_longest else count - order + tf.zeros_like(lengths)
    priority = tf.where(lengths > level, priority, -1)
    ahead = tf.reduce_sum(tf.cast(priority[:, None, :] > priority[:, :, None], lengths.dtype), axis=2)
    return kept + tf.cast((lengths > level) & (ahead < spare), lengths.dtype)


def rows_of(tokens: tf.RaggedTensor) -> tf.Tensor:
    """The row of each value, int64 [values]: what value_rowids gives, which searches the rows for every value."""
    count = tf.size(tokens.values, out_type=tf.int64)
    # One more place, for rows that begin behind the last value.
    begins = tf.scatter_nd(tokens.row_starts()[:, None], tf.ones_like(tokens.row_starts()), [count + 1])
    return tf.cumsum(begins)[:-1] - 1


def cut(tokens: tf.RaggedTensor, kept: tf.Tensor, tail_share: float = 0.0) -> tf.RaggedTensor:
    """Keeps `kept[i]` values of row i: ragged [n, tokens], int64 [n] -> ragged [n, tokens].

    A share of them, rounded down, is from the row's end, the others from its beginning.
    """
    rows = rows_of(tokens)
    position = tf.range(tf.size(rows, out_type=tf.int64)) - tf.gather(tokens.row_starts(), rows)
    is_kept = position < tf.gather(kept, rows)
    if tail_share:
        tail = tf.cast(tail_share * tf.cast(kept, tf.float64), kept.dtype)
        is_kept = position < tf.gather(kept - tail, rows)
        is_kept |= position >= tf.gather(tokens.row_lengths() - tail, rows)
    values = tf.boolean_mask(tokens.flat_values, is_kept)
    return tf.RaggedTensor.from_row_lengths(values, tf.minimum(kept, tokens.row_lengths()), validate=False)


def join(segments: Sequence[tf.RaggedTensor], *, first: int, last: int) -> tf.RaggedTensor:
    """`first`, then each segment followed by `last`: ragged [n, tokens] each -> ragged [n, tokens]."""
    rows = tf.shape(segments[0].row_lengths())[0]
    dtype = segments[0].dtype
    pieces = [tf.fill([rows, 1], tf.constant(first, dtype))]
    for segment in segments:
        pieces += [segment, tf.fill([rows, 1], tf.constant(last, dtype))]
    return tf.concat(pieces, axis=1)
