"""A question and its context as windows that fit into rows (Devlin et al. 2018; google-research/bert's run_squad)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import CLS, SEP
from bert_tf.text.wordpiece import Tokenizer


@dataclasses.dataclass(frozen=True)
class Window:
    """[CLS] question [SEP] a stretch of the context [SEP].

    Attributes:
      example: number of its example.
      ids: of all tokens.
      offset: position of the stretch's first token.
      begins: byte of the context where each of the stretch's tokens begins.
      ends: likewise, behind its last byte.
      is_best: whether this window shows most of what is around the token, of all windows that hold it.
    """

    example: int
    ids: list[int]
    offset: int
    begins: np.ndarray
    ends: np.ndarray
    is_best: np.ndarray

    def positions_of(self, begin: int, end: int) -> tuple[int, int]:
        """Positions of the first and last token of a span of bytes; (0, 0) unless all of it is here."""
        if not len(self.begins) or begin < self.begins[0] or end > self.ends[-1]:
            return 0, 0
        first = int(np.searchsorted(self.ends, begin, side="right"))
        last = int(np.searchsorted(self.begins, end, side="left")) - 1
        return (self.offset + first, self.offset + last) if first <= last else (0, 0)

    def best_spans(
        self, starts: np.ndarray, ends: np.ndarray, *, n_best: int, max_length: int
    ) -> list[tuple[float, int, int]]:
        """(score, begin, end), in bytes of the context, of the pairs among the best starts and ends that make a span.

        Args:
          starts: scores of all positions of the row.
          ends: likewise.
          n_best: how many of each are looked at.
          max_length: most tokens of a span.
        """
        count = len(self.begins)
        starts, ends = (scores[self.offset : self.offset + count] for scores in (starts, ends))
        spans = []
        first_best, last_best = (np.argsort(-scores, kind="stable")[:n_best] for scores in (starts, ends))
        for first in first_best:
            for last in last_best:
                if self.is_best[first] and first <= last < first + max_length:
                    spans.append((float(starts[first] + ends[last]), int(self.begins[first]), int(self.ends[last])))
        return spans


def windows_of(
    examples: Sequence[dict], tokenizer: Tokenizer, data: FinetuneDataConfig
) -> tuple[list[Window], dict[str, int]]:
    """All windows, those of an example one behind the other, and what is to be told.

    Raises:
      InputError: rows have no room for a context.
    """
    vocabulary = tokenizer.vocabulary
    questions = tokenizer.tokenize([example["text"] for example in examples]).to_list()
    contexts = [part.to_list() for part in tokenizer.tokenize_with_offsets([e["context"] for e in examples])]
    windows, split, cut = [], 0, 0
    for number, (question, ids, begins, ends) in enumerate(zip(questions, *contexts, strict=True)):
        cut += len(question) > data.max_query_length
        question = [vocabulary[CLS], *question[: data.max_query_length], vocabulary[SEP]]
        room = data.max_seq_length - len(question) - 1
        if room < 1:
            raise InputError(
                f"data.max_seq_length={data.max_seq_length}: expected room for a context behind a question of "
                f"data.max_query_length={data.max_query_length} tokens. Received a question that leaves none."
            )
        stretches = _stretches(len(ids), room, data.doc_stride)
        split += len(stretches) > 1
        best = _best_windows(len(ids), stretches)
        for index, (first, last) in enumerate(stretches):
            windows.append(
                Window(
                    number,
                    [*question, *ids[first:last], vocabulary[SEP]],
                    len(question),
                    np.array(begins[first:last], np.int64),
                    np.array(ends[first:last], np.int64),
                    best[first:last] == index,
                )
            )
    notes = {
        "with a context of several windows": split,
        f"with a question cut to {data.max_query_length} tokens": cut,
    }
    return windows, {name: count for name, count in notes.items() if count}


def _stretches(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """(first, last + 1) of stretches of at most `room` tokens, `stride` apart, the last of which ends at `count`."""
    stretches = [(0, min(count, room))]
    while stretches[-1][1] < count:
        first = stretches[-1][0] + min(stride, room)
        stretches.append((first, min(count, first + room)))
    return stretches


def _best_windows(count: int, stretches: Sequence[tuple[int, int]]) -> np.ndarray:
    """For each token the first of the stretches that have most context on its poorer side, then most tokens."""
    best, value = np.zeros(count, np.int64), np.full(count, -1.0)
    for index, (first, last) in enumerate(stretches):
        positions = np.arange(first, last)
        context = np.minimum(positions - first, last - 1 - positions) + 0.01 * (last - first)
        better = context > value[first:last]
        best[first:last][better] = index
        value[first:last][better] = context[better]
    return best
