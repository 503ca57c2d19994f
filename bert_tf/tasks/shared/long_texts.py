"""Texts of more tokens than a row holds -> windows, and what a model gives for these -> one output a text.

A window is [CLS] a stretch of the text [SEP]; of a pair, [CLS] first text [SEP] a stretch of the second [SEP].
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bert_tf.tasks.shared.graph_rows import framed
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.task import Arrays, Framed
from bert_tf.text.tokenizer import TextTokenizer


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
    *before, long = (tokenizer.tokenize(column) for column in texts)
    total = long.row_lengths()
    kept = lost = tf.zeros_like(total)  # of the first texts
    most = data.max_seq_length - len(texts) - 1
    if before:
        half = max(most // 2, 1)
        kept = tf.minimum(before[0].row_lengths(), tf.maximum(most - total, half))
        lost = before[0].row_lengths() - kept
        total += before[0].row_lengths()
    room = most - kept
    stride = room if data.window_stride is None else tf.minimum(tf.constant(data.window_stride, tf.int64), room)
    more = tf.maximum(long.row_lengths() - room, 0)
    counts = tf.minimum(1 + (more + stride - 1) // stride, data.max_windows)
    lost += tf.maximum(more - (counts - 1) * stride, 0)
    text = tf.repeat(tf.range(tf.size(counts)), counts)
    begins = tf.ragged.range(counts).flat_values * tf.gather(stride, text)
    first = None
    if before:
        first = (before[0].values, tf.gather(before[0].row_starts(), text), tf.gather(kept, text))
    rows, _, _ = framed(
        tokenizer,
        long.values,
        tf.gather(long.row_starts(), text) + begins,
        tf.minimum(tf.gather(long.row_lengths(), text) - begins, tf.gather(room, text)),
        first,
        length=data.max_seq_length if fixed_length else None,
    )
    return Framed(rows, {"counts": counts, "text_tokens": total, "lost_tokens": lost})


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
