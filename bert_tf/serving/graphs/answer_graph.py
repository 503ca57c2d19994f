"""Questions and contexts -> the best spans, as a graph: bert_tf.tasks.question_answering for SavedModels."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from bert_tf.core.config_finetune import FinetuneDataConfig, HeadConfig
from bert_tf.serving.graphs.graph_rows import MAX_ROWS_OF_A_TEXT, framed, in_parts
from bert_tf.text.wordpiece import Tokenizer

_FRAME = 3  # [CLS], [SEP], [SEP]


class Windows(NamedTuple):
    """Rows for the model, those of an example one behind the other; see bert_tf.tasks.answer_windows.

    Attributes:
      rows: the encoder's inputs.
      counts: windows of each example, int64 [examples].
      token: of each position which of the contexts' tokens it holds, int64 [rows, length].
      is_context: whether it holds one.
      is_best: whether no other window shows more of what is around that token.
      begins, ends: bytes of all contexts' tokens, int64 [tokens].
    """

    rows: dict[str, tf.Tensor]
    counts: tf.Tensor
    token: tf.Tensor
    is_context: tf.Tensor
    is_best: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor


def windows(tokenizer: Tokenizer, data: FinetuneDataConfig, question: tf.Tensor, context: tf.Tensor) -> Windows:
    """string [examples] each -> their windows."""
    questions = tokenizer.tokenize(question)
    # Room for one token of the context is left whatever the question's length.
    longest = min(data.max_query_length, data.max_seq_length - _FRAME - 1)
    asked = tf.minimum(questions.row_lengths(), longest)
    ids, begins, ends = tokenizer.tokenize_with_offsets(context)
    room = data.max_seq_length - _FRAME - asked
    step = tf.minimum(tf.constant(data.doc_stride, tf.int64), room)
    more = tf.maximum(ids.row_lengths() - room, 0)
    counts = tf.minimum(1 + (more + step - 1) // step, MAX_ROWS_OF_A_TEXT)
    example = tf.repeat(tf.range(tf.size(counts)), counts)
    number = tf.ragged.range(counts).flat_values
    first = number * tf.gather(step, example)
    last = tf.minimum(tf.gather(ids.row_lengths(), example), first + tf.gather(room, example))
    rows, token, is_context = framed(
        tokenizer,
        ids.values,
        tf.gather(ids.row_starts(), example) + first,
        last - first,
        (questions.values, tf.gather(questions.row_starts(), example), tf.gather(asked, example)),
    )
    place = token - tf.gather(ids.row_starts(), example)[:, None]
    # In float64 and in this order, so that ties fall as they do in bert_tf.tasks.answer_windows.
    sides = tf.cast(tf.minimum(place - first[:, None], last[:, None] - 1 - place), tf.float64)
    shown = tf.where(is_context, sides + 0.01 * tf.cast(last - first, tf.float64)[:, None], -1.0)
    total = tf.size(ids.values, out_type=tf.int64) + 1
    most = tf.math.unsorted_segment_max(shown, token, total)
    row = tf.range(tf.shape(token)[0])[:, None] + tf.zeros_like(token, tf.int32)
    is_most = is_context & (shown == tf.gather(most, token))
    best = tf.math.unsorted_segment_min(tf.where(is_most, row, tf.int32.max), token, total)
    is_best = is_context & (row == tf.gather(best, token))
    return Windows(rows, counts, token, is_context, is_best, begins.values, ends.values)


def answers(
    call: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    tokenizer: Tokenizer,
    data: FinetuneDataConfig,
    head: HeadConfig,
    question: tf.Tensor,
    context: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The answers of a model.

    Args:
      call: the encoder's inputs -> start_logits and end_logits.
      tokenizer: of the model.
      data, head: the task's settings.
      question, context: string [examples].

    Returns:
      What bert_tf.tasks.question_answering has for each example, dense; see bert_tf.serving.graphs.signatures.
    """
    found = windows(tokenizer, data, question, context)
    logits = in_parts(lambda rows: _stacked(call(rows)), found.rows, [None, 2])  # [rows, length, 2]
    spans = _spans(found, logits, head)
    row_ends = tf.cumsum(found.counts)
    nothing = tf.math.segment_min(
        logits[:, 0, 0] + logits[:, 0, 1], tf.repeat(tf.range(tf.size(found.counts)), found.counts)
    )

    def of_one(item):
        text, stop, count, none_score = item
        # Spans lie in the order of their windows; these are those of this example's.
        chosen = tf.searchsorted(spans.row, tf.stack([stop - count, stop]))
        score, begin, end = (x[chosen[0] : chosen[1]] for x in (spans.score, spans.begin, spans.end))
        return _best(text, score, begin, end, none_score, head)

    n = head.n_best_size + 1
    return tf.map_fn(
        of_one,
        (context, row_ends, found.counts, nothing),
        fn_output_signature={
            "answer": tf.TensorSpec([], tf.string),
            "start": tf.TensorSpec([], tf.int32),
            "end": tf.TensorSpec([], tf.int32),
            "probability": tf.TensorSpec([], tf.float32),
            "no_answer_score": tf.TensorSpec([], tf.float32),
            "n_best_answers": tf.TensorSpec([n], tf.string),
            "n_best_starts": tf.TensorSpec([n], tf.int32),
            "n_best_ends": tf.TensorSpec([n], tf.int32),
            "n_best_scores": tf.TensorSpec([n], tf.float32),
            "n_best_probabilities": tf.TensorSpec([n], tf.float32),
            "n_best_count": tf.TensorSpec([], tf.int32),
        },
    )


def _stacked(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.stack([outputs["start_logits"], outputs["end_logits"]], axis=-1)


class _Spans(NamedTuple):
    """Of all windows, in their order: the row, the score, and the bytes of the context, [spans] each."""

    row: tf.Tensor
    score: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor


def _spans(found: Windows, logits: tf.Tensor, head: HeadConfig) -> _Spans:
    """The pairs among the best starts and ends of each window that make a span."""
    count = tf.minimum(head.n_best_size, tf.shape(logits)[1])
    masked = tf.where(found.is_context[..., None], logits, -float("inf"))
    (start_scores, starts), (end_scores, ends) = (tf.math.top_k(masked[..., edge], k=count) for edge in range(2))
    of_starts, of_ends = starts[:, :, None], ends[:, None, :]
    is_span = (
        tf.gather(found.is_best, starts, batch_dims=1)[:, :, None]
        & tf.gather(found.is_context, ends, batch_dims=1)[:, None, :]
        & (of_starts <= of_ends)
        & (of_ends < of_starts + head.max_answer_length)
    )
    places = tf.where(is_span)
    row = places[:, 0]
    first = tf.gather_nd(starts, tf.stack([row, places[:, 1]], axis=1))
    last = tf.gather_nd(ends, tf.stack([row, places[:, 2]], axis=1))

    def byte(table: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.gather_nd(found.token, tf.stack([row, tf.cast(position, tf.int64)], axis=1)))

    score = tf.gather_nd(start_scores[:, :, None] + end_scores[:, None, :], places)
    return _Spans(row, score, byte(found.begins, first), byte(found.ends, last))


def _best(text, score, begin, end, nothing, head: HeadConfig) -> dict[str, tf.Tensor]:
    """The answer to one question: scalars, and n_best_size + 1 of the best different texts."""
    # Best first; of equal ones the one that begins, then ends, first.
    order = tf.argsort(end, stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(begin, order), stable=True))
    order = tf.gather(order, tf.argsort(-tf.gather(score, order), stable=True))
    score, begin, end = (tf.gather(x, order) for x in (score, begin, end))
    texts = _valid(tf.strings.substr(text, begin, end - begin))
    kept = tf.where(tf.strings.strip(texts) != "")[:, 0]
    different, index = tf.unique(tf.gather(texts, kept))
    firsts = tf.math.unsorted_segment_min(tf.range(tf.size(kept)), index, tf.size(different))
    kept = tf.gather(kept, firsts[: head.n_best_size])
    texts, score, begin = (tf.gather(x, kept) for x in (texts, score, begin))

    count = tf.size(texts)
    starts = tf.strings.length(_valid(tf.strings.substr(text, tf.zeros_like(begin), begin)), unit="UTF8_CHAR")
    ends = starts + tf.strings.length(texts, unit="UTF8_CHAR")
    has_nothing = tf.constant(head.no_answer_threshold is not None) | (count == 0)
    extra = tf.cast(has_nothing, tf.int32)
    columns = {
        "answers": tf.concat([texts, tf.repeat("", extra)], axis=0),
        "starts": tf.concat([starts, tf.repeat(0, extra)], axis=0),
        "ends": tf.concat([ends, tf.repeat(0, extra)], axis=0),
        "scores": tf.concat([score, tf.repeat(nothing, extra)], axis=0),
    }
    columns["probabilities"] = tf.nn.softmax(columns["scores"])
    difference = nothing - columns["scores"][0]
    chosen = tf.constant(0)
    if head.no_answer_threshold is not None:
        chosen = tf.where(difference <= head.no_answer_threshold, 0, count)
    ranking = tf.argsort(-columns["scores"], stable=True)
    n = head.n_best_size + 1
    ranked = {name: tf.gather(x, ranking) for name, x in columns.items()}
    total = count + extra
    return {
        "answer": columns["answers"][chosen],
        "start": columns["starts"][chosen],
        "end": columns["ends"][chosen],
        "probability": columns["probabilities"][chosen],
        "no_answer_score": difference,
        **{f"n_best_{name}": tf.ensure_shape(_padded(x, n - total), [n]) for name, x in ranked.items()},
        "n_best_count": total,
    }


def _valid(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")


def _padded(values: tf.Tensor, more: tf.Tensor) -> tf.Tensor:
    padding = tf.constant("" if values.dtype == tf.string else 0, values.dtype)
    return tf.concat([values, tf.repeat(padding, more)], axis=0)
