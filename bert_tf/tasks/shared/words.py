"""Texts, or lists of words, -> rows with the place of every word's first token, as a graph."""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.tasks.shared.graph_rows import framed
from bert_tf.tasks.task import Framed
from bert_tf.text.segments import rows_of
from bert_tf.text.tokenizer import TextTokenizer
from bert_tf.text.vocabulary import UNK


class Words(NamedTuple):
    """Words of texts, numbered through all of them, and their tokens.

    Attributes:
      tokens: int32 [tokens]; of a word longer than a row only its beginning.
      word: the word that each token is of, int64 [tokens].
      begins_word: whether a token is a word's first, bool [tokens].
      splits: where each word's tokens begin, int64 [words + 1].
      starts, ends: bytes of each word in its text, int64 [words]; 0 for words that came as a list.
      row_splits: where each text's words begin, int64 [texts + 1].
      truncated: how many words were longer than a row.
    """

    tokens: tf.Tensor
    word: tf.Tensor
    begins_word: tf.Tensor
    splits: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    row_splits: tf.Tensor
    truncated: tf.Tensor


def words_of_texts(tokenizer: TextTokenizer, texts: tf.Tensor, most_tokens: int) -> Words:
    """string [texts] -> the words that the tokenizer finds in them, each of at most so many tokens."""
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    total = tf.size(ids.values, out_type=tf.int64)
    is_first_of_text = tf.scatter_nd(
        ids.row_starts()[:, None], tf.ones_like(ids.row_starts(), tf.int32), total[None] + 1
    )[:-1]
    begins = tf.gather(tokenizer.begins_word, ids.values) | (is_first_of_text > 0)
    word = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    is_last = tf.concat([begins[1:], tf.ones([tf.minimum(total, 1)], tf.bool)], axis=0)
    counts = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int64), rows_of(ids), ids.nrows())
    return _words(
        ids.values,
        word,
        tf.boolean_mask(starts.values, begins),
        tf.boolean_mask(ends.values, is_last),
        counts,
        most_tokens,
    )


def words_of_lists(tokenizer: TextTokenizer, words: tf.Tensor, counts: tf.Tensor, most_tokens: int) -> Words:
    """string [words] of all texts and int64 [texts] -> the same for words that are given."""
    ids = tokenizer.tokenize(words)
    # A word of which the tokenizer keeps nothing has a tag all the same.
    is_empty = tf.cast(ids.row_lengths() == 0, tf.int64)
    unknown = tf.repeat(tf.constant(tokenizer.vocabulary[UNK]), tf.reduce_sum(is_empty))
    ids = tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown, is_empty)], axis=1)
    nowhere = tf.zeros([tf.size(words)], tf.int64)
    return _words(ids.values, rows_of(ids), nowhere, nowhere, counts, most_tokens)


def _words(tokens, word, starts, ends, counts, most_tokens: int) -> Words:
    """What follows from the tokens, the word of each, and the words of each text."""
    word, count = tf.cast(word, tf.int64), tf.size(starts, out_type=tf.int64)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(word), word, count)
    firsts = tf.cumsum(lengths, exclusive=True)
    place = tf.range(tf.size(word, out_type=tf.int64)) - tf.gather(firsts, word)
    kept = place < most_tokens
    tokens, word, place = (tf.boolean_mask(x, kept) for x in (tokens, word, place))
    zero = tf.constant([0], tf.int64)
    return Words(
        tokens=tokens,
        word=word,
        begins_word=place == 0,
        splits=tf.concat([zero, tf.cumsum(tf.minimum(lengths, most_tokens))], axis=0),
        starts=starts,
        ends=ends,
        row_splits=tf.concat([zero, tf.cumsum(counts)], axis=0),
        truncated=tf.reduce_sum(tf.cast(lengths > most_tokens, tf.int32)),
    )


def frame_words(
    tokenizer: TextTokenizer, words: Words, max_seq_length: int, *, fixed_length: bool, most_rows: int | None
) -> Framed:
    """Rows of whole words; a text that is too long goes on in further rows, without context from the one before.

    Returns:
      Rows, and a layout: what `words` has, and
        token, is_token: of each position which of the tokens it holds, int64 and bool [rows, length].
        row_text, firsts, lasts: text, first word and last word + 1 of each row.
    """
    row_text, firsts, lasts = _stretches(words, max_seq_length - 2, most_rows)
    rows, token, is_token = framed(
        tokenizer,
        words.tokens,
        tf.gather(words.splits, firsts),
        tf.gather(words.splits, lasts) - tf.gather(words.splits, firsts),
        length=max_seq_length if fixed_length else None,
    )
    places = {"token": token, "is_token": is_token, "row_text": row_text, "firsts": firsts, "lasts": lasts}
    return Framed(rows, {**words._asdict(), **places})


def _stretches(words: Words, budget: int, most_rows: int | None) -> tuple[tf.Tensor, ...]:
    """Text, first and last + 1 word of rows of at most `budget` tokens, [rows] each; at least one row a text."""
    ends = words.row_splits[1:]

    def more(number, firsts, *_):
        is_left = (number == 0) | tf.reduce_any(firsts < ends)
        return is_left if most_rows is None else is_left & (number < most_rows)

    def step(number, firsts, all_firsts, all_lasts):
        reach = tf.gather(words.splits, firsts) + budget
        lasts = tf.minimum(tf.searchsorted(words.splits, reach, side="right", out_type=tf.int64) - 1, ends)
        return number + 1, lasts, all_firsts.write(number, firsts), all_lasts.write(number, lasts)

    arrays = [tf.TensorArray(tf.int64, size=0, dynamic_size=True, element_shape=[None]) for _ in range(2)]
    number, _, firsts, lasts = tf.while_loop(more, step, [0, words.row_splits[:-1], *arrays])
    firsts, lasts = (tf.transpose(array.stack()) for array in (firsts, lasts))  # [texts, rows]
    is_row = (firsts < ends[:, None]) | (tf.range(number) == 0)[None]
    text = tf.range(tf.shape(firsts)[0])[:, None] + tf.zeros_like(firsts, tf.int32)
    return tuple(tf.boolean_mask(x, is_row) for x in (text, firsts, lasts))


def of_words(values: tf.Tensor, layout: dict[str, tf.Tensor]) -> tf.Tensor:
    """Values at every position, [rows, length, n] -> those of each word's first token, [words, n]."""
    places = tf.where(layout["is_token"] & tf.gather(_padded(layout["begins_word"], False), layout["token"]))
    words = tf.gather(layout["word"], tf.gather_nd(layout["token"], places))
    shape = tf.stack([tf.size(layout["starts"], out_type=tf.int64), tf.cast(tf.shape(values)[-1], tf.int64)])
    return tf.scatter_nd(words[:, None], tf.gather_nd(values, places), shape)


def _padded(values: tf.Tensor, value) -> tf.Tensor:
    # One more, since there may be none at all.
    return tf.concat([values, [value]], axis=0)
