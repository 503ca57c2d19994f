"""Questions and contexts -> windows, and what a model gives for them -> the best spans, as a graph.

A window is [CLS] question [SEP] a stretch of the context [SEP] (Devlin et al. 2018; google-research/bert's run_squad).
"""

import dataclasses
from typing import ClassVar, Literal, NamedTuple

import tensorflow as tf

from bert_tf.core.config import HeadConfig, TaskDataConfig
from bert_tf.core.section import bounded
from bert_tf.tasks.shared.long_texts import windows_of
from bert_tf.tasks.task import Framed
from bert_tf.text.tokenizer import TextTokenizer

_FRAME = 3  # [CLS], [SEP], [SEP]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerDataConfig(TaskDataConfig):
    """How contexts become windows; the columns have SQuAD's own names."""

    # Tokens from one window of a long context to the next, BERT's run_squad. Windows overlap if it is less than what
    # data.max_seq_length leaves for the context.
    doc_stride: int = bounded(128, at_least=1)
    max_query_length: int = bounded(64, at_least=1)  # tokens of the question, which is truncated; BERT's run_squad


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerHeadConfig(HeadConfig):
    """Which spans may be answers."""

    section: ClassVar[str] = "head"
    n_best_size: int = bounded(20, at_least=1)  # starts and ends of a window that are combined; BERT's run_squad
    max_answer_length: int = bounded(30, at_least=1)  # tokens; BERT's run_squad
    # No answer is given where its score exceeds the best span's by more than this; none: every question has an answer,
    # as in SQuAD 1.1.
    no_answer_threshold: float | None = None
    # How answers are scored. squad: by words, without English articles and ASCII punctuation; cmrc2018: by Chinese
    # characters and English words, without Chinese punctuation (Cui et al. 2019).
    scoring: Literal["squad", "cmrc2018"] = "squad"


def longest_question(data: AnswerDataConfig) -> int:
    """Tokens that a question is truncated to: room for one token of the context is always left."""
    return min(data.max_query_length, data.max_seq_length - _FRAME - 1)


def frame_questions(
    tokenizer: TextTokenizer,
    data: AnswerDataConfig,
    question: tf.Tensor,
    context: tf.Tensor,
    *,
    fixed_length: bool,
    most_rows: int | None,
) -> Framed:
    """string [examples] each -> their windows, those of an example one behind the other.

    Returns:
      Rows, and a layout:
        counts: windows of each example, int64 [examples].
        token: of each position which of the contexts' tokens it holds, int64 [rows, length].
        is_context: whether it holds one.
        is_best: whether no other window shows more of what is around that token.
        begins, ends: bytes of all contexts' tokens, int64 [tokens].
        question_tokens: of each question, int64 [examples].
        text_tokens, lost_tokens: see Framed; what of a question is truncated is lost, and what is behind `most_rows`.
    """
    questions = tokenizer.tokenize(question)
    asked = tf.minimum(questions.row_lengths(), longest_question(data))
    ids, begins, ends = tokenizer.tokenize_with_offsets(context)
    made = windows_of(
        tokenizer,
        ids,
        (questions, asked),
        max_seq_length=data.max_seq_length,
        stride=data.doc_stride,
        most=most_rows,
        fixed_length=fixed_length,
    )
    place = made.token - tf.gather(ids.row_starts(), made.text)[:, None]  # in its context
    layout = {
        "counts": made.counts,
        "token": made.token,
        "is_context": made.is_token,
        "is_best": _best_windows(place, made.firsts, made.lasts, made.token, made.is_token),
        "begins": begins.values,
        "ends": ends.values,
        "question_tokens": questions.row_lengths(),
        "text_tokens": questions.row_lengths() + ids.row_lengths(),
        "lost_tokens": questions.row_lengths() - asked + made.lost,
    }
    return Framed(made.rows, layout)


def _best_windows(place, first, last, token, is_context) -> tf.Tensor:
    """Whether a window is the first of those with most context on the poorer side of a token, then most tokens."""
    sides = tf.cast(tf.minimum(place - first[:, None], last[:, None] - 1 - place), tf.float64)
    shown = tf.where(is_context, sides + 0.01 * tf.cast(last - first, tf.float64)[:, None], -1.0)
    total = tf.reduce_max(tf.concat([tf.reshape(token, [-1]), [0]], axis=0)) + 1
    most = tf.math.unsorted_segment_max(shown, token, total)
    row = tf.range(tf.shape(token)[0])[:, None] + tf.zeros_like(token, tf.int32)
    is_most = is_context & (shown == tf.gather(most, token))
    best = tf.math.unsorted_segment_min(tf.where(is_most, row, tf.int32.max), token, total)
    return is_context & (row == tf.gather(best, token))


def best_answers(
    outputs: dict[str, tf.Tensor], layout: dict[str, tf.Tensor], context: tf.Tensor, settings: AnswerHeadConfig
) -> dict[str, tf.Tensor]:
    """The answers of a model.

    Args:
      outputs: start_logits and end_logits, float32 [rows, length].
      layout: of the windows.
      context: string [examples].
      settings: which spans may be answers.

    Returns:
      {name: [examples, ...]}, dense; see QuestionAnswering.outputs.
    """
    logits = tf.stack([outputs["start_logits"], outputs["end_logits"]], axis=-1)  # [rows, length, 2]
    spans = _spans(layout, logits, settings)
    row_ends = tf.cumsum(layout["counts"])
    nothing = tf.math.segment_min(
        logits[:, 0, 0] + logits[:, 0, 1], tf.repeat(tf.range(tf.size(layout["counts"])), layout["counts"])
    )

    def of_one(item):
        text, stop, count, none_score = item
        # Spans lie in the order of their windows; these are those of this example's.
        chosen = tf.searchsorted(spans.row, tf.stack([stop - count, stop]))
        score, begin, end = (x[chosen[0] : chosen[1]] for x in (spans.score, spans.begin, spans.end))
        return _best(text, score, begin, end, none_score, settings)

    n = settings.n_best_size + 1
    specs = {
        "answer": (tf.string, []),
        "start": (tf.int32, []),
        "end": (tf.int32, []),
        "probability": (tf.float32, []),
        "no_answer_score": (tf.float32, []),
        "n_best_answers": (tf.string, [n]),
        "n_best_starts": (tf.int32, [n]),
        "n_best_ends": (tf.int32, [n]),
        "n_best_scores": (tf.float32, [n]),
        "n_best_probabilities": (tf.float32, [n]),
        "n_best_count": (tf.int32, []),
    }
    signature = {name: tf.TensorSpec(shape, dtype) for name, (dtype, shape) in specs.items()}
    return tf.map_fn(of_one, (context, row_ends, layout["counts"], nothing), fn_output_signature=signature)


class _Spans(NamedTuple):
    """Of all windows, in their order: the row, the score, and the bytes of the context, [spans] each."""

    row: tf.Tensor
    score: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor


def _spans(layout: dict[str, tf.Tensor], logits: tf.Tensor, settings: AnswerHeadConfig) -> _Spans:
    """The pairs among the best starts and ends of each window that make a span."""
    count = tf.minimum(settings.n_best_size, tf.shape(logits)[1])
    masked = tf.where(layout["is_context"][..., None], logits, -float("inf"))
    (start_scores, starts), (end_scores, ends) = (tf.math.top_k(masked[..., edge], k=count) for edge in range(2))
    of_starts, of_ends = starts[:, :, None], ends[:, None, :]
    is_span = (
        tf.gather(layout["is_best"], starts, batch_dims=1)[:, :, None]
        & tf.gather(layout["is_context"], ends, batch_dims=1)[:, None, :]
        & (of_starts <= of_ends)
        & (of_ends < of_starts + settings.max_answer_length)
    )
    places = tf.where(is_span)
    row = places[:, 0]
    first = tf.gather_nd(starts, tf.stack([row, places[:, 1]], axis=1))
    last = tf.gather_nd(ends, tf.stack([row, places[:, 2]], axis=1))

    def byte(table: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.gather_nd(layout["token"], tf.stack([row, tf.cast(position, tf.int64)], axis=1)))

    score = tf.gather_nd(start_scores[:, :, None] + end_scores[:, None, :], places)
    return _Spans(row, score, byte(layout["begins"], first), byte(layout["ends"], last))


def _best(text, score, begin, end, nothing, settings: AnswerHeadConfig) -> dict[str, tf.Tensor]:
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
    kept = tf.gather(kept, firsts[: settings.n_best_size])
    texts, score, begin = (tf.gather(x, kept) for x in (texts, score, begin))

    count = tf.size(texts)
    starts = tf.strings.length(_valid(tf.strings.substr(text, tf.zeros_like(begin), begin)), unit="UTF8_CHAR")
    ends = starts + tf.strings.length(texts, unit="UTF8_CHAR")
    has_nothing = tf.constant(settings.no_answer_threshold is not None) | (count == 0)
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
    if settings.no_answer_threshold is not None:
        chosen = tf.where(difference <= settings.no_answer_threshold, 0, count)
    ranking = tf.argsort(-columns["scores"], stable=True)
    n = settings.n_best_size + 1
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
