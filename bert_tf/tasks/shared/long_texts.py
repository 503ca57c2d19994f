"""Texts of more tokens than a row holds -> windows, and what a model gives for these -> one output a text.

A window is [CLS] a stretch of the text [SEP]; of a pair, [CLS] first text [SEP] a stretch of the second [SEP].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.tasks.shared.graph_rows import framed
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.task import Arrays, Framed
from bert_tf.text.tokenizer import TextTokenizer


class Windows(NamedTuple):
    """Windows over texts; of all windows of a batch, in order, unless a field says otherwise.

    Attributes:
      rows: the model's inputs.
      token, is_token: which of the texts' tokens each position holds, and whether it holds one, [windows, length].
      text: number of the text of each window, int32 [windows].
      firsts, lasts: first token and last token + 1 of each window, counted in its text, int64 [windows].
      counts: windows of each text, int64 [n].
      lost: tokens of each text that no window holds, int64 [n].
    """

    rows: dict[str, tf.Tensor]
    token: tf.Tensor
    is_token: tf.Tensor
    text: tf.Tensor
    firsts: tf.Tensor
    lasts: tf.Tensor
    counts: tf.Tensor
    lost: tf.Tensor


def windows_of(
    tokenizer: TextTokenizer,
    tokens: tf.RaggedTensor,
    before: tuple[tf.RaggedTensor, tf.Tensor] | None,
    *,
    max_seq_length: int,
    stride: int | None,
    most: int | None,
    fixed_length: bool,
) -> Windows:
    """Windows over the tokens of texts, int32 ragged [n, tokens]; at least one text.

    Args:
      tokenizer: knows the special tokens.
      tokens: of the texts that continue from window to window.
      before: tokens of the texts that every window begins with, and how many of them it holds, int64 [n]; or None.
      max_seq_length: tokens of a window.
      stride: tokens from one window of a text to the next; None for as many as a window has room for.
      most: windows of a text; None for as many as it needs.
      fixed_length: rows of max_seq_length; otherwise as long as the longest.
    """
    lengths = tokens.row_lengths()
    kept = tf.zeros_like(lengths) if before is None else before[1]
    room = max_seq_length - (2 if before is None else 3) - kept  # without special tokens
    step = room if stride is None else tf.minimum(tf.constant(stride, tf.int64), room)
    more = tf.maximum(lengths - room, 0)
    counts = 1 + (more + step - 1) // step
    counts = counts if most is None else tf.minimum(counts, most)
    text = tf.repeat(tf.range(tf.size(counts)), counts)
    firsts = tf.ragged.range(counts).flat_values * tf.gather(step, text)
    lasts = tf.minimum(tf.gather(lengths, text), firsts + tf.gather(room, text))
    first = None
    if before is not None:
        first = (before[0].values, tf.gather(before[0].row_starts(), text), tf.gather(kept, text))
    rows, token, is_token = framed(
        tokenizer,
        tokens.values,
        tf.gather(tokens.row_starts(), text) + firsts,
        lasts - firsts,
        first,
        length=max_seq_length if fixed_length else None,
    )
    lost = tf.maximum(more - (counts - 1) * step, 0)
    return Windows(rows, token, is_token, text, firsts, lasts, counts, lost)


def frame_windows(
    tokenizer: TextTokenizer, data: TextDataConfig, texts: Sequence[tf.Tensor], *, fixed_length: bool
) -> Framed:
    """string [n], or two of them for pairs -> rows, those of a text one behind the other; at least one text.

    The first text of a pair stands in every window, truncated to half of the row if the second one needs the rest.

    Returns:
      Rows, and a layout:
        counts: windows of each text, int64 [n].
        text_tokens, lost_tokens: see Framed, int64 [n].
    """
    *others, long = (tokenizer.tokenize(column) for column in texts)
    total, before, lost = long.row_lengths(), None, 0
    if others:
        most = data.max_seq_length - 3
        kept = tf.minimum(others[0].row_lengths(), tf.maximum(most - total, max(most // 2, 1)))
        before, lost = (others[0], kept), others[0].row_lengths() - kept
        total += others[0].row_lengths()
    made = windows_of(
        tokenizer,
        long,
        before,
        max_seq_length=data.max_seq_length,
        stride=data.window_stride,
        most=data.max_windows,
        fixed_length=fixed_length,
    )
    return Framed(made.rows, {"counts": made.counts, "text_tokens": total, "lost_tokens": lost + made.lost})


def pooled(logits: tf.Tensor, counts: tf.Tensor, pooling: str) -> tf.Tensor:
    """float32 [rows, units] and int64 [n] rows of each text -> float32 [n, units], their mean or maximum."""
    text = tf.repeat(tf.range(tf.size(counts)), counts)
    if pooling == "max":
        return tf.math.segment_max(logits, text)
    return tf.math.segment_sum(logits, text) / tf.cast(counts, tf.float32)[:, None]


def grouped(rows: Arrays, counts: np.ndarray) -> Arrays:
    """Rows [rows, length] -> [n, windows, length]: as many windows as the longest text has, filled up with zeros."""
    is_window = np.arange(counts.max()) < counts[:, None]
    found = {}
    for name, x in rows.items():
        found[name] = np.zeros((*is_window.shape, x.shape[-1]), x.dtype)
        found[name][is_window] = x
    return found
