"""What the tasks on whole texts or pairs share: reading, packing, and the head on the whole text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.rows_of_files import read_examples, text_of
from bert_tf.tasks.task import Framed, Task

_WHAT = {"text": "a text", "second_text": "the text that it is paired with"}


class TextTask(Task):
    """A task on rows of a text or a pair: examples have "text", and "second_text" if the data have pairs."""

    def inputs(self) -> dict[str, str]:
        names = ("text",) if self.data.second_text_field is None else ("text", "second_text")
        return {name: _WHAT[name] for name in names}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        # By name: parsed tf.Examples have their columns in the order of the alphabet.
        texts = [columns[name] for name in self.inputs()]
        return packed(tokenizer, texts, self.data.max_seq_length, fixed_length=fixed_length)


class SequenceTask(TextTask):
    """Examples have "label" if they are labelled."""

    head = "sequence"

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        columns = {"text": data.text_field, "second_text": data.second_text_field}
        return read_examples(
            path,
            field,
            columns,
            lambda row, place: {"label": cls.read_label(row, data, place)} if labelled else {},
        )

    @classmethod
    def read_label(cls, row: dict, data: Any, place: str):
        """The label of a row."""
        label = text_of(row, data.label_field, place)
        if not label.strip():
            raise InputError(f"{place}: expected a label in column {data.label_field!r}. Received nothing.")
        return label

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": text, "second_text": text, "label": self.sample_label()}

    def sample_label(self) -> Any:
        """A label that an example may have."""
        return self.labels[0]

    def label_arrays(self, examples, layout):
        return {**self.targets(examples), "label_weights": np.ones(len(examples), np.float32)}, {}

    def targets(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """{name: [examples, ...]} of the labels."""
        raise NotImplementedError

    def check_labels(self, examples: Sequence[dict]) -> None:
        self.targets(examples)

    def head_settings(self, dropout: float) -> dict:
        return {"units": len(self.labels), "dropout": dropout}


def packed(tokenizer, columns, max_seq_length: int, *, fixed_length: bool) -> Framed:
    """Texts, or pairs of them, as rows; as long as the longest of them unless the length is fixed."""
    rows = tokenizer.pack(*columns, max_seq_length=max_seq_length, fixed_length=fixed_length, with_counts=True)
    counts = rows.pop("token_counts")
    if not fixed_length:
        # No rows at all have no length either, which the model cannot handle.
        missing = tf.maximum(2 - tf.shape(rows["input_mask"])[1], 0)
        rows = {name: tf.pad(x, [[0, 0], [0, missing]]) for name, x in rows.items()}
    return Framed(rows, {"token_counts": counts})


def asked(example: dict) -> dict[str, str]:
    """The texts of an example, to stand before its answer."""
    return {name: example[name] for name in ("text", "second_text") if name in example}
