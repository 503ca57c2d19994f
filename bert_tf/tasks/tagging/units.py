"""Texts, or lists of words, -> rows with the place of every unit's first token, as a graph.

A unit is what the tokenizer takes for a word: a stretch of letters and digits, one punctuation mark, one ideograph.
Models learn and answer a tag for each unit, whether the words are found in a text or given, so that both are the same.
A word that is given may have several units ("9/7/1992" has five), and is answered by its first one.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.tasks.shared.graph_rows import framed
from bert_tf.tasks.task import Framed
from bert_tf.text.segments import rows_of
from bert_tf.text.tokenizer import TextTokenizer
from bert_tf.text.vocabulary import UNK


class Units(NamedTuple):
    """Units of texts, numbered through all of them, their tokens, and the words that they are parts of.

    Attributes:
      tokens: int32 [tokens]; of a unit longer than a row only its beginning.
      unit: the unit that each token is of, int64 [tokens].
      begins_unit: whether a token is a unit's first, bool [tokens].
      splits: where each unit's tokens begin, int64 [units + 1].
      starts, ends: bytes of each unit in its text, int64 [units]; 0 for words that came as a list.
      row_splits: where each text's units begin, int64 [texts + 1].
      word: the word that each unit is of, int64 [units]; in a text every unit is one.
      word_units: the first unit of each word, int64 [words].
      word_splits: where each text's words begin, int64 [texts + 1].
      truncated: how many units were longer than a row.
      text_tokens: tokens of each text, also those that no row holds, int64 [texts].
    """

    tokens: tf.Tensor
    unit: tf.Tensor
    begins_unit: tf.Tensor
    splits: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    row_splits: tf.Tensor
    word: tf.Tensor
    word_units: tf.Tensor
    word_splits: tf.Tensor
    truncated: tf.Tensor
    text_tokens: tf.Tensor


def units_of_texts(tokenizer: TextTokenizer, texts: tf.Tensor, most_tokens: int) -> Units:
    """string [texts] -> the units that the tokenizer finds in them, each of at most so many tokens."""
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    begins = _begins_unit(tokenizer, ids)
    is_last = tf.concat([begins[1:], tf.ones([tf.minimum(tf.size(begins), 1)], tf.bool)], axis=0)
    counts = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int64), rows_of(ids), ids.nrows())
    units = tf.range(tf.reduce_sum(counts))
    return _units(
        ids.values,
        begins,
        tf.boolean_mask(starts.values, begins),
        tf.boolean_mask(ends.values, is_last),
        most_tokens,
        word=units,
        word_units=units,
        word_splits=_splits(counts),
    )


def units_of_lists(tokenizer: TextTokenizer, words: tf.Tensor, counts: tf.Tensor, most_tokens: int) -> Units:
    """string [words] of all texts and int64 [texts] -> the same for words that are given."""
    ids = tokenizer.tokenize(words)
    # A word of which the tokenizer keeps nothing has a tag all the same.
    is_empty = tf.cast(ids.row_lengths() == 0, tf.int64)
    unknown = tf.repeat(tf.constant(tokenizer.vocabulary[UNK]), tf.reduce_sum(is_empty))
    ids = tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown, is_empty)], axis=1)
    begins = _begins_unit(tokenizer, ids)
    word = tf.boolean_mask(rows_of(ids), begins)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(word), word, tf.size(words))
    return _units(
        ids.values,
        begins,
        tf.zeros_like(word),
        tf.zeros_like(word),
        most_tokens,
        word=word,
        word_units=tf.cumsum(lengths, exclusive=True),
        word_splits=_splits(counts),
    )


def flat_words(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """string [texts, most words], filled up with "" -> the words of all texts, string [words], and int64 [texts]."""
    number = tf.range(1, tf.shape(words, tf.int64)[1] + 1)
    last = tf.where(words != "", number[None], 0)
    counts = tf.reduce_max(tf.pad(last, [[0, 0], [1, 0]]), axis=1)
    return tf.boolean_mask(words, number[None] <= counts[:, None]), counts


def _begins_unit(tokenizer: TextTokenizer, ids: tf.RaggedTensor) -> tf.Tensor:
    """Whether each token begins a unit: the first one of a row does in any case."""
    total = tf.size(ids.values, out_type=tf.int64)
    firsts = tf.ones_like(ids.row_starts(), tf.int32)
    is_first_of_row = tf.scatter_nd(ids.row_starts()[:, None], firsts, total[None] + 1)[:-1]
    return tf.gather(tokenizer.begins_word, ids.values) | (is_first_of_row > 0)


def _splits(counts: tf.Tensor) -> tf.Tensor:
    return tf.concat([tf.constant([0], tf.int64), tf.cumsum(counts)], axis=0)


def _units(tokens, begins, starts, ends, most_tokens: int, *, word, word_units, word_splits) -> Units:
    """What follows from the tokens, which of them begin units, and the words of each text."""
    unit, count = tf.cumsum(tf.cast(begins, tf.int64)) - 1, tf.size(starts, out_type=tf.int64)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(unit), unit, count)
    firsts = tf.cumsum(lengths, exclusive=True)
    place = tf.range(tf.size(unit, out_type=tf.int64)) - tf.gather(firsts, unit)
    kept = place < most_tokens
    tokens, unit, place = (tf.boolean_mask(x, kept) for x in (tokens, unit, place))
    row_splits = tf.gather(tf.concat([word_units, count[None]], axis=0), word_splits)
    all_splits = tf.gather(_splits(lengths), row_splits)
    return Units(
        tokens=tokens,
        unit=unit,
        begins_unit=place == 0,
        splits=_splits(tf.minimum(lengths, most_tokens)),
        starts=starts,
        ends=ends,
        row_splits=row_splits,
        word=word,
        word_units=word_units,
        word_splits=word_splits,
        truncated=tf.reduce_sum(tf.cast(lengths > most_tokens, tf.int32)),
        text_tokens=all_splits[1:] - all_splits[:-1],
    )


def frame_units(
    tokenizer: TextTokenizer, units: Units, max_seq_length: int, *, fixed_length: bool, most_rows: int | None
) -> Framed:
    """Rows of whole units; a text that is too long goes on in further rows, without context from the one before.

    Returns:
      Rows, and a layout: what `units` has, and
        token, is_token: of each position which of the tokens it holds, int64 and bool [rows, length].
        row_text, firsts, lasts: text, first unit and last unit + 1 of each row.
        lost_tokens: tokens of each text that no row holds, int64 [texts].
    """
    row_text, firsts, lasts = _stretches(units, max_seq_length - 2, most_rows)
    rows, token, is_token = framed(
        tokenizer,
        units.tokens,
        tf.gather(units.splits, firsts),
        tf.gather(units.splits, lasts) - tf.gather(units.splits, firsts),
        length=max_seq_length if fixed_length else None,
    )
    places = {"token": token, "is_token": is_token, "row_text": row_text, "firsts": firsts, "lasts": lasts}
    held = tf.gather(units.splits, lasts) - tf.gather(units.splits, firsts)
    lost = units.text_tokens - tf.math.unsorted_segment_sum(held, row_text, tf.size(units.text_tokens))
    return Framed(rows, {**units._asdict(), **places, "lost_tokens": lost})


def _stretches(units: Units, budget: int, most_rows: int | None) -> tuple[tf.Tensor, ...]:
    """Text, first and last + 1 unit of rows of at most `budget` tokens, [rows] each; at least one row a text."""
    ends = units.row_splits[1:]

    def more(number, firsts, *_):
        is_left = (number == 0) | tf.reduce_any(firsts < ends)
        return is_left if most_rows is None else is_left & (number < most_rows)

    def step(number, firsts, all_firsts, all_lasts):
        reach = tf.gather(units.splits, firsts) + budget
        lasts = tf.minimum(tf.searchsorted(units.splits, reach, side="right", out_type=tf.int64) - 1, ends)
        return number + 1, lasts, all_firsts.write(number, firsts), all_lasts.write(number, lasts)

    arrays = [tf.TensorArray(tf.int64, size=0, dynamic_size=True, element_shape=[None]) for _ in range(2)]
    number, _, firsts, lasts = tf.while_loop(more, step, [0, units.row_splits[:-1], *arrays])
    firsts, lasts = (tf.transpose(array.stack()) for array in (firsts, lasts))  # [texts, rows]
    is_row = (firsts < ends[:, None]) | (tf.range(number) == 0)[None]
    text = tf.range(tf.shape(firsts)[0])[:, None] + tf.zeros_like(firsts, tf.int32)
    return tuple(tf.boolean_mask(x, is_row) for x in (text, firsts, lasts))


def of_units(values: tf.Tensor, layout: dict[str, tf.Tensor]) -> tf.Tensor:
    """Values at every position, [rows, length, n] -> those of each unit's first token, [units, n]."""
    places = tf.where(layout["is_token"] & tf.gather(_padded(layout["begins_unit"], False), layout["token"]))
    units = tf.gather(layout["unit"], tf.gather_nd(layout["token"], places))
    shape = tf.stack([tf.size(layout["starts"], out_type=tf.int64), tf.cast(tf.shape(values)[-1], tf.int64)])
    return tf.scatter_nd(units[:, None], tf.gather_nd(values, places), shape)


def _padded(values: tf.Tensor, value) -> tf.Tensor:
    # One more, since there may be none at all.
    return tf.concat([values, [value]], axis=0)
