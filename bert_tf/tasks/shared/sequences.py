"""What the tasks on whole texts or pairs share: reading, packing, and the head on the whole text."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.long_texts import frame_windows, grouped, pooled
from bert_tf.tasks.shared.rows_of_files import read_examples, text_of
from bert_tf.tasks.shared.sections import tail_share
from bert_tf.tasks.task import Framed, Task

WINDOWS = ("truncate", "head_tail", "windows")  # Task.long_texts of tasks that pool windows
_SHORTEST_PAIR = 5  # tokens of a window of a pair
_WHAT = {"text": "a text", "second_text": "the text that it is paired with"}


class TextTask(Task):
    """A task on rows of a text or a pair: examples have "text", and "second_text" if the data have pairs."""

    def inputs(self) -> dict[str, str]:
        names = ("text",) if self.data.second_text_field is None else ("text", "second_text")
        return {name: _WHAT[name] for name in names}

    @property
    def segments(self) -> int:
        return len(self.inputs())

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        # By name: parsed tf.Examples have their columns in the order of the alphabet.
        texts = [columns[name] for name in self.inputs()]
        share = tail_share(self.data)
        return packed(tokenizer, texts, self.data.max_seq_length, fixed_length=fixed_length, tail_share=share)


class SequenceTask(TextTask):
    """Examples have "label" if they are labelled.

    A task whose `decode` reads `logits` and whose objective has `pooling` may take data.long_texts=windows: a long text
    (of pairs the second one) takes several rows, and what the model gives for them is pooled.
    """

    head = "sequence"
    long_texts: ClassVar[tuple[str, ...]] = ("truncate", "head_tail")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.has_windows and self.data.second_text_field is not None and self.data.max_seq_length < _SHORTEST_PAIR:
            raise InputError(
                f"data.max_seq_length: expected at least {_SHORTEST_PAIR}, for windows of pairs. Received: "
                f"{self.data.max_seq_length}."
            )

    @property
    def has_windows(self) -> bool:  # type: ignore[override]
        return self.data.long_texts == "windows"

    @property
    def too_long(self) -> str:  # type: ignore[override]
        if self.has_windows:
            windows = f"windows of max_seq_length tokens, {self.data.max_windows} at most"
            return f"continues in {windows}; of pairs the second text"
        if self.data.long_texts == "head_tail":
            return f"the beginning and the end are read; {self.data.tail_share:.0%} of the tokens are from the end"
        return super().too_long

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        if not self.has_windows:
            return super().frame(tokenizer, columns, fixed_length=fixed_length, most_rows=most_rows)
        texts = [columns[name] for name in self.inputs()]
        return frame_windows(tokenizer, self.data, texts, fixed_length=fixed_length)

    def logits(self, outputs: dict[str, tf.Tensor], layout: dict[str, tf.Tensor]) -> tf.Tensor:
        """The head's outputs of each text, float32 [n, units]: `decode` reads these."""
        if not self.has_windows:
            return outputs["logits"]
        return pooled(outputs["logits"], layout["counts"], self.data.window_pooling)

    def row_outputs(self) -> dict[str, list]:
        return {"logits": [self.head_settings(0.0)["units"]]}

    def training_rows(self, rows, layout):
        return grouped(rows, layout["counts"]) if self.has_windows else rows

    def by_row(self, outputs, layout):
        if outputs["logits"].ndim < 3:
            return outputs
        is_window = np.arange(outputs["logits"].shape[1]) < layout["counts"][:, None]
        return {name: x[is_window] for name, x in outputs.items()}

    def notes(self, layout):
        if not self.has_windows:
            return super().notes(layout)
        return {f"in several windows of {self.data.max_seq_length} tokens": int((layout["counts"] > 1).sum())}

    def pooling(self) -> str | None:
        """How the objective pools windows; None where a text is one row."""
        return self.data.window_pooling if self.has_windows else None

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


def packed(tokenizer, columns, max_seq_length: int, *, fixed_length: bool, tail_share: float = 0.0) -> Framed:
    """Texts, or pairs of them, as rows; as long as the longest of them unless the length is fixed.

    tail_share: of the tokens of a truncated text, the share that is its end.
    """
    options: dict[str, Any] = {"max_seq_length": max_seq_length, "fixed_length": fixed_length, "with_counts": True}
    if tail_share:  # not every kind of tokenizer has it
        options["tail_share"] = tail_share
    rows = tokenizer.pack(*columns, **options)
    counts = rows.pop("token_counts")
    if not fixed_length:
        # No rows at all have no length either, which the model cannot handle.
        missing = tf.maximum(2 - tf.shape(rows["input_mask"])[1], 0)
        rows = {name: tf.pad(x, [[0, 0], [0, missing]]) for name, x in rows.items()}
    lost = tf.maximum(counts - max_seq_length, 0)
    return Framed(rows, {"text_tokens": counts - len(columns) - 1, "lost_tokens": lost})


def asked(example: dict) -> dict[str, str]:
    """The texts of an example, to stand before its answer."""
    return {name: example[name] for name in ("text", "second_text") if name in example}
