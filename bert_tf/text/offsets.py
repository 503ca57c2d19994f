"""The way back from tokens of a normalized text to the bytes of the text that they came from."""

import tensorflow as tf

from bert_tf.text.normalizer import Normalizer
from bert_tf.text.segments import rows_of


def in_source(
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
    *,
    texts: tf.Tensor,
    normalized: tf.Tensor,
    normalizer: Normalizer,
    prepared: tf.Tensor,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Byte offsets of tokens in normalized texts -> the same in the texts.

    Args:
      starts, ends: of each token, ragged int64 [n, tokens].
      texts, normalized: string [n] each.
      normalizer: what normalized them.
      prepared: the `rows` that were given to it, int64 [k].

    Returns:
      starts and ends, ragged int64 [n, tokens].
    """
    # One byte becomes one byte or none in ASCII text, so if no byte is lost they keep their places.
    length = tf.strings.length(texts)
    is_ascii = tf.equal(tf.strings.length(texts, unit="UTF8_CHAR"), length)
    moved = ~(is_ascii & tf.equal(tf.strings.length(normalized), length))

    def through_map() -> list[tf.Tensor]:
        places = starts.with_values(tf.range(tf.size(starts.values, out_type=tf.int64)))
        numbers = tf.where(moved)[:, 0]
        places = tf.gather(places, numbers)
        is_prepared = tf.scatter_nd(prepared[:, None], tf.ones_like(prepared), tf.shape(texts, tf.int64)) > 0
        found = _through_map(
            normalizer.source_offsets(tf.gather(texts, numbers), tf.where(tf.gather(is_prepared, numbers))[:, 0]),
            rows_of(places),
            tf.gather(starts.values, places.values),
            tf.gather(ends.values, places.values),
        )
        return [
            tf.tensor_scatter_nd_update(old.values, places.values[:, None], new)
            for old, new in zip((starts, ends), found, strict=True)
        ]

    flat = tf.cond(tf.reduce_any(moved), through_map, lambda: [starts.values, ends.values])
    return starts.with_values(flat[0]), ends.with_values(flat[1])


def _through_map(
    sources: tf.RaggedTensor, rows: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Tokens in normalized texts -> tokens in the texts.

    Args:
      sources: for each normalized byte, and the end, where its character is in the text; int64 [n, bytes + 1].
      rows: of each token among `sources`, int64 [tokens].
      starts, ends: the bytes of the normalized text that each token covers, int64 [tokens].

    Returns:
      starts and ends, int64 [tokens].
    """
    values = sources.values
    base = tf.gather(sources.row_starts(), rows)
    last = tf.gather(values, base + ends - 1)
    after = tf.gather(values, base + ends)
    inside = tf.equal(last, after)  # the token ends amidst the characters that one character became

    def until_next_character() -> tf.Tensor:
        # Offsets rise within a text; with a step between texts they rise throughout.
        step = tf.reduce_max(values) + 1
        rising = values + rows_of(sources) * step
        at = tf.boolean_mask(tf.range(tf.size(last)), inside)
        index = tf.searchsorted(rising, tf.gather(last + rows * step, at), side="right", out_type=tf.int64)
        return tf.tensor_scatter_nd_update(after, at[:, None], tf.gather(values, index))

    after = tf.cond(tf.reduce_any(inside), until_next_character, lambda: after)
    return tf.gather(values, base + starts), after
