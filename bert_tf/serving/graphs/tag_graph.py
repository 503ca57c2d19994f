"""Texts -> words with their tags, and entities, as a graph: bert_tf.tasks.token_classification for SavedModels."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from bert_tf.serving.graphs.graph_rows import MAX_ROWS_OF_A_TEXT, framed, in_parts, pieces
from bert_tf.text.segments import rows_of
from bert_tf.text.wordpiece import Tokenizer

_OUTSIDE = "O"


def tags(
    call: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    tokenizer: Tokenizer,
    labels: Sequence[str],
    max_seq_length: int,
    text: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The words of texts with their tags.

    Args:
      call: the encoder's inputs -> logits, float32 [rows, length, labels].
      tokenizer: of the model.
      labels: names of the tags.
      max_seq_length: tokens of a row; longer texts go on in further rows, 64 at most.
      text: string [texts].

    Returns:
      See bert_tf.serving.graphs.signatures; entities only for tags that name some.
    """
    words = _Words(tokenizer, text, most_tokens=max_seq_length - 2)
    row_text, firsts, lasts = words.stretches(budget=max_seq_length - 2)
    rows, token, is_token = framed(
        tokenizer,
        words.tokens,
        tf.gather(words.splits, firsts),
        tf.gather(words.splits, lasts) - tf.gather(words.splits, firsts),
    )
    logits = in_parts(call, rows, [None, len(labels)])
    # A word's tag is that of its first token.
    places = tf.where(is_token & tf.gather(tf.concat([words.begins_word, [False]], axis=0), token))
    found = tf.scatter_nd(
        tf.gather(words.word, tf.gather_nd(token, places))[:, None],
        tf.gather_nd(logits, places),
        tf.stack([words.count, tf.constant(len(labels), tf.int64)]),
    )
    # Words behind the last row were not looked at.
    begins, ends, found = (
        tf.RaggedTensor.from_row_splits(x, words.row_splits, validate=False) for x in (words.starts, words.ends, found)
    )
    counts = tf.math.unsorted_segment_sum(lasts - firsts, row_text, tf.size(text))
    width = tf.reduce_max(tf.concat([counts, [0]], axis=0))
    is_word = tf.range(width)[None] < counts[:, None]
    # Cut before they are filled up: one text of megabytes must not make all rows as wide.
    begins, ends = (tf.where(is_word, x.to_tensor(shape=tf.stack([-1, width])), 0) for x in (begins, ends))
    chances = tf.nn.softmax(found.to_tensor(shape=tf.stack([-1, width, len(labels)])))
    best = tf.argmax(chances, axis=-1, output_type=tf.int32)
    outputs = {
        "words": pieces(text, begins, ends),
        "begins": tf.cast(begins, tf.int32),
        "ends": tf.cast(ends, tf.int32),
        "tags": tf.where(is_word, tf.gather(tf.constant(list(labels)), best), ""),
        "probabilities": tf.where(is_word, tf.reduce_max(chances, axis=-1), 0.0),
        "word_count": tf.cast(counts, tf.int32),
    }
    if all(label == _OUTSIDE or label[:2] in ("B-", "I-") for label in labels):
        outputs |= _entities(text, labels, best, is_word, begins, ends)
    return outputs


class _Words:
    """Words of texts, numbered through all of them, and their tokens.

    Attributes:
      tokens: int32 [tokens]; of a word longer than a row only its beginning.
      word: the word that each token is of, int64 [tokens].
      begins_word: whether a token is a word's first, bool [tokens].
      splits: where each word's tokens begin, int64 [words + 1].
      starts, ends: bytes of each word in its text, int64 [words].
      row_splits: where each text's words begin, int64 [texts + 1].
      count: of all words.
    """

    def __init__(self, tokenizer: Tokenizer, text: tf.Tensor, most_tokens: int):
        ids, starts, ends = tokenizer.tokenize_with_offsets(text)
        is_suffix = tf.constant([token.startswith("##") for token in tokenizer.vocabulary.tokens])
        total = tf.size(ids.values, out_type=tf.int64)
        is_first_of_text = tf.scatter_nd(
            ids.row_starts()[:, None], tf.ones_like(ids.row_starts(), tf.int32), total[None] + 1
        )[:-1]
        begins = ~tf.gather(is_suffix, ids.values) | (is_first_of_text > 0)
        word = tf.cumsum(tf.cast(begins, tf.int64)) - 1
        self.count = tf.reduce_sum(tf.cast(begins, tf.int64))
        self.starts = tf.boolean_mask(starts.values, begins)
        is_last = tf.concat([begins[1:], tf.ones([tf.minimum(total, 1)], tf.bool)], axis=0)
        self.ends = tf.boolean_mask(ends.values, is_last)
        firsts = tf.where(begins)[:, 0]
        kept = tf.range(total) - tf.gather(firsts, word) < most_tokens
        self.tokens, self.word, self.begins_word = (tf.boolean_mask(x, kept) for x in (ids.values, word, begins))
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(self.word), self.word, self.count)
        self.splits = tf.concat([[tf.constant(0, tf.int64)], tf.cumsum(lengths)], axis=0)
        words_of_text = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int64), rows_of(ids), ids.nrows())
        self.row_splits = tf.concat([[tf.constant(0, tf.int64)], tf.cumsum(words_of_text)], axis=0)

    def stretches(self, budget: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Text, first and last + 1 word of rows of at most `budget` tokens, [rows] each; at least one row a text."""
        ends = self.row_splits[1:]

        def more(number, firsts, *_):
            return (number < MAX_ROWS_OF_A_TEXT) & ((number == 0) | tf.reduce_any(firsts < ends))

        def step(number, firsts, all_firsts, all_lasts):
            reach = tf.gather(self.splits, firsts) + budget
            lasts = tf.minimum(tf.searchsorted(self.splits, reach, side="right", out_type=tf.int64) - 1, ends)
            return number + 1, lasts, all_firsts.write(number, firsts), all_lasts.write(number, lasts)

        arrays = [tf.TensorArray(tf.int64, size=0, dynamic_size=True, element_shape=[None]) for _ in range(2)]
        number, _, firsts, lasts = tf.while_loop(more, step, [0, self.row_splits[:-1], *arrays])
        firsts, lasts = (tf.transpose(array.stack()) for array in (firsts, lasts))  # [texts, rows]
        is_row = (firsts < ends[:, None]) | (tf.range(number) == 0)[None]
        text = tf.range(tf.shape(firsts)[0])[:, None] + tf.zeros_like(firsts, tf.int32)
        return tuple(tf.boolean_mask(x, is_row) for x in (text, firsts, lasts))


def _entities(text, labels, best, is_word, begins, ends) -> dict[str, tf.Tensor]:
    """Stretches of B-, I- and O tags; see bert_tf.tasks.token_classification.entities."""
    kinds = sorted({label[2:] for label in labels if label != _OUTSIDE})
    kind_of = tf.constant([kinds.index(label[2:]) if label != _OUTSIDE else -1 for label in labels])
    is_inside = tf.constant([label[:2] == "I-" for label in labels])
    kind = tf.where(is_word, tf.gather(kind_of, best), -1)
    before = tf.pad(kind, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
    goes_on = tf.gather(is_inside, best) & (kind >= 0) & (kind == before)
    is_first = (kind >= 0) & ~goes_on
    follows = tf.pad(goes_on, [[0, 0], [0, 1]])[:, 1:]
    is_last = (kind >= 0) & ~follows
    counts = tf.reduce_sum(tf.cast(is_first, tf.int64), axis=1)

    def dense(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, chosen), counts, validate=False).to_tensor()

    entity_begins, entity_ends = dense(begins, is_first), dense(ends, is_last)
    # A kind that no label has stands for none, where a text has fewer entities than another.
    names = tf.constant([*kinds, ""])
    is_entity = tf.range(tf.shape(entity_begins)[1])[None] < tf.cast(counts, tf.int32)[:, None]
    return {
        "entities": pieces(text, entity_begins, entity_ends),
        "entity_types": tf.gather(names, tf.where(is_entity, dense(kind, is_first), len(kinds))),
        "entity_begins": tf.cast(entity_begins, tf.int32),
        "entity_ends": tf.cast(entity_ends, tf.int32),
        "entity_count": tf.cast(counts, tf.int32),
    }
