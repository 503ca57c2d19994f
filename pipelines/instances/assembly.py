"""Segments -> rows with special tokens."""

import numpy as np

from bert_tf.text.vocabulary import Vocabulary
from pipelines.instances.sentence_pairs import Pairs


def assemble(
    pairs: Pairs,
    tokens: np.ndarray,
    *,
    vocabulary: Vocabulary,
    is_continuation: np.ndarray,
    max_seq_length: int,
) -> dict[str, np.ndarray]:
    """[CLS] A [SEP] B [SEP] for every pair, [CLS] A [SEP] if the second segment is empty.

    Returns:
      input_word_ids, input_mask, input_type_ids [rows, max_seq_length], next_sentence_labels [rows, 1], and bool
      [rows, max_seq_length]: maskable, where a word piece stands, and begins_word, where a word does.
    """
    position = np.arange(max_seq_length)
    first_sep = (pairs.first_end - pairs.first_start)[:, None] + 1
    last_sep = pairs.lengths()[:, None] - 1
    in_first = (position > 0) & (position < first_sep)
    in_second = (position > first_sep) & (position < last_sep)
    in_either = in_first | in_second
    source = np.where(in_second, pairs.second_start[:, None] - first_sep, pairs.first_start[:, None]) + position - 1
    # Places outside the segments are read and thrown away, which is faster than to leave them out.
    word_ids = np.where(in_either, tokens.take(source, mode="clip"), np.int32(vocabulary["[PAD]"]))
    # Text makes no special token: a [SEP] among the tokens stands between two documents of a row.
    maskable = in_either & (word_ids != vocabulary["[SEP]"])
    begins_word = maskable & ~is_continuation[word_ids]
    begins_word[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]  # a segment may begin inside a word
    word_ids[:, 0] = vocabulary["[CLS]"]
    for place in (first_sep, last_sep):
        np.put_along_axis(word_ids, place, vocabulary["[SEP]"], axis=1)
    return {
        "input_word_ids": word_ids,
        "input_mask": (position <= last_sep).astype(np.int32),
        "input_type_ids": ((position > first_sep) & (position <= last_sep)).astype(np.int32),
        "maskable": maskable,
        "begins_word": begins_word,
        "next_sentence_labels": pairs.label[:, None].astype(np.int32),
    }
