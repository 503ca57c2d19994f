"""Entities of the units of texts, as a graph: the rule of bert_tf/tasks/tagging/schemes.py."""

from collections.abc import Sequence

import tensorflow as tf

from bert_tf.tasks.shared.graph_rows import pieces
from bert_tf.tasks.tagging import schemes


def entities(
    labels: Sequence[str],
    best: tf.Tensor,
    is_word: tf.Tensor,
    begins: tf.Tensor,
    ends: tf.Tensor,
    text: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    """Stretches of tags as entities, each tensor [texts, entities] and padded behind entity_count.

    Args:
      labels: names of the tags.
      best: which of them each word has, int32 [texts, words].
      is_word: whether there is such a word, bool [texts, words].
      begins, ends: bytes of each word, int64 [texts, words].
      text: the texts, string [texts]; None for words that came as a list.
    """
    kinds = schemes.types_of(labels)
    parts = [schemes.parts(label) for label in labels]
    kind_of = tf.constant([kinds.index(part[1]) if part else -1 for part in parts])
    is_inside = tf.constant([part is not None and part[0] not in schemes.BEGINNINGS for part in parts])
    kind = tf.where(is_word, tf.gather(kind_of, best), -1)
    before = tf.pad(kind, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
    goes_on = tf.gather(is_inside, best) & (kind >= 0) & (kind == before)
    is_first = (kind >= 0) & ~goes_on
    is_last = (kind >= 0) & ~tf.pad(goes_on, [[0, 0], [0, 1]])[:, 1:]
    counts = tf.reduce_sum(tf.cast(is_first, tf.int64), axis=1)

    def dense(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, chosen), counts, validate=False).to_tensor()

    number = tf.range(tf.shape(kind)[1])[None] + tf.zeros_like(kind)
    entity_begins, entity_ends = dense(begins, is_first), dense(ends, is_last)
    # A kind that no label has stands for none, where a text has fewer entities than another.
    names = tf.constant([*kinds, ""])
    is_entity = tf.range(tf.shape(entity_begins)[1])[None] < tf.cast(counts, tf.int32)[:, None]
    found = {
        "entity_types": tf.gather(names, tf.where(is_entity, dense(kind, is_first), len(kinds))),
        "entity_begins": tf.cast(entity_begins, tf.int32),
        "entity_ends": tf.cast(entity_ends, tf.int32),
        "entity_first_words": dense(number, is_first),
        "entity_last_words": dense(number, is_last),
        "entity_count": tf.cast(counts, tf.int32),
    }
    return found if text is None else found | {"entities": pieces(text, entity_begins, entity_ends)}
