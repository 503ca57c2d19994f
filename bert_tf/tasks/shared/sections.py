"""Sections of configs that several tasks share: columns of files, and names of classes. Standard library only."""

import dataclasses
from typing import Literal

from bert_tf.core.config import TaskDataConfig
from bert_tf.core.errors import require
from bert_tf.core.section import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataConfig(TaskDataConfig):
    """Columns of a text, or a pair of texts, and of what is known of it."""

    text_field: str = "text"  # column
    second_text_field: str | None = None  # column of the second text of a pair; none: single texts
    label_field: str = "label"  # column
    # What becomes of a text of more than max_seq_length tokens. truncate: its beginning is read, of pairs the longer
    # text is truncated first; head_tail: its beginning and its end (Sun et al. 2019); windows: all of it, in rows whose
    # outputs are pooled. classification, multi_label and regression take all three, embedding the first two.
    long_texts: Literal["truncate", "head_tail", "windows"] = "truncate"
    # head_tail: share of a truncated text's tokens that are its end; Sun et al. 2019: 382 of 510
    tail_share: float = bounded(0.75, above=0, below=1)
    # windows: tokens from one window to the next; none: the length of a window, so that no two windows overlap
    window_stride: int | None = bounded(None, at_least=1)
    # windows: of a text, at most; what follows is not read, and reported. In training every example takes the memory of
    # as many windows as the longest one has.
    max_windows: int = bounded(8, at_least=1, at_most=64)
    window_pooling: Literal["mean", "max"] = "mean"  # windows: what an answer is made of, the logits' mean or maximum


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassDataConfig(TextDataConfig):
    """The same for tasks with classes."""

    labels: tuple[str, ...] | None = None  # classes in the order of their ids; none: those of training, sorted

    def __post_init__(self):
        super().__post_init__()
        if self.labels is not None:
            require(len(set(self.labels)) == len(self.labels), "data.labels must differ", ", ".join(self.labels))


def tail_share(data: TextDataConfig) -> float:
    """The share of a truncated text's tokens that are its end."""
    return data.tail_share if data.long_texts == "head_tail" else 0.0
