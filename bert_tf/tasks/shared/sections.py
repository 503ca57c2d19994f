"""Sections of configs that several tasks share: columns of files, and names of classes. Standard library only."""

import dataclasses

from bert_tf.core.config import TaskDataConfig
from bert_tf.core.errors import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataConfig(TaskDataConfig):
    """Columns of a text, or a pair of texts, and of what is known of it."""

    text_field: str = "text"  # column
    second_text_field: str | None = None  # column of the second text of a pair; none: single texts
    label_field: str = "label"  # column


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassDataConfig(TextDataConfig):
    """The same for tasks with classes."""

    labels: tuple[str, ...] | None = None  # classes in the order of their ids; none: those of training, sorted

    def __post_init__(self):
        super().__post_init__()
        if self.labels is not None:
            require(len(set(self.labels)) == len(self.labels), "data.labels must differ", ", ".join(self.labels))
