"""Which of several texts goes on best: SWAG, exams (Devlin et al. 2018, 4.4)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.models.model import INPUTS
from bert_tf.objectives.supervised import Supervised
from bert_tf.tasks.shared.rows_of_files import list_of, read_rows, text_of
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.shared.sequences import packed
from bert_tf.tasks.task import Framed, Task, strings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceDataConfig(TextDataConfig):
    """Columns; second_text_field names a text that every choice goes on from."""

    choices_field: str = "choices"  # column with a list of texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultipleChoiceConfig(FinetuneConfig):
    """One of several texts."""

    task: Literal["multiple_choice"] = "multiple_choice"
    data: ChoiceDataConfig = ChoiceDataConfig()


class MultipleChoice(Task):
    """Examples have "text", "choices" and "label", the number of the right one, counted from 0.

    data.second_text_field names a text that every choice goes on from, such as a sentence's beginning or a question.

    Answers: {"text", "choices", "label", "probabilities": [float, one a choice]}.
    """

    name = "multiple_choice"
    config_class = MultipleChoiceConfig
    head = "choices"
    metric = "accuracy"
    takes_texts = False
    signature = "choose"
    matrix_inputs = ("choices",)

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. The label is a number, or the text of a choice."""
        examples = []
        for place, row in read_rows(path, field):
            choices = list_of(row, data.choices_field, place)
            if len(choices) < 2:
                raise InputError(f"{place}: {data.choices_field}: expected at least two. Received {len(choices)}.")
            example: dict[str, Any] = {"place": place, "text": text_of(row, data.text_field, place), "choices": choices}
            if data.second_text_field is not None:
                example["stem"] = text_of(row, data.second_text_field, place)
            if labelled:
                label = text_of(row, data.label_field, place)
                numbers = [str(number) for number in range(len(choices))]
                if label not in numbers and label not in choices:
                    raise InputError(
                        f"{place}: {data.label_field}: expected 0 to {len(choices) - 1} or a choice. "
                        f"Received: {label!r}."
                    )
                if label in numbers and label in choices and choices.index(label) != int(label):
                    raise InputError(
                        f"{place}: {data.label_field}: expected a number or a choice. Received {label!r}, which is the "
                        "number of one choice and the text of another."
                    )
                example["label"] = numbers.index(label) if label in numbers else choices.index(label)
                if not choices[example["label"]]:
                    raise InputError(
                        f"{place}: {data.label_field}: expected a choice with text. Received an empty one."
                    )
            examples.append(example)
        return examples

    def sample(self, text: str) -> dict:
        # Different from their first word on: which of two equal rows is the better one is a matter of rounding.
        return {"place": "sample", "text": text, "choices": [text, f"No. {text}"], "stem": "It is", "label": 0}

    @property
    def segments(self) -> int:
        return 2

    def inputs(self) -> dict[str, str]:
        found = {"text": "a text", "choices": "[batch, choices] candidate continuations; '' is none"}
        return found | ({} if self.data.second_text_field is None else {"stem": "the text that every choice continues"})

    def fields(self) -> dict[str, str]:
        stem = self.data.second_text_field
        return super().fields() | ({} if stem is None else {"stem": stem})

    def counts(self) -> dict[str, str]:
        return {"probabilities": "choices"}

    def columns(self, examples):
        """See Task; fewer choices than most have are filled up with ''."""
        most = max((len(example["choices"]) for example in examples), default=2)
        rows = [[*example["choices"], *[""] * (most - len(example["choices"]))] for example in examples]
        found = {"text": strings(e["text"] for e in examples)}
        found["choices"] = strings(choice for row in rows for choice in row).reshape(len(rows), most)
        if self.data.second_text_field is not None:
            found["stem"] = strings(example["stem"] for example in examples)
        return found

    def row_shapes(self) -> dict[str, list]:
        return {name: [None, self.data.max_seq_length] for name in INPUTS}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        """See Task. Rows are [examples, choices, length]; an empty choice is none."""
        choices = columns["choices"]
        count, width = tf.unstack(tf.shape(choices))
        seconds = tf.reshape(choices, [-1])
        if "stem" in columns:
            stems = tf.repeat(columns["stem"], width)
            seconds = tf.strings.strip(tf.strings.join([stems, seconds], separator=" "))
        texts = tf.repeat(columns["text"], width)
        framed = packed(tokenizer, [texts, seconds], self.data.max_seq_length, fixed_length=fixed_length)
        is_choice = tf.cast(choices != "", tf.int32)
        rows = {name: tf.reshape(x, [count, width, tf.shape(x)[1]]) for name, x in framed.rows.items()}
        layout = {name: tf.reshape(x, [count, width]) * is_choice for name, x in framed.layout.items()}
        return Framed({name: x * is_choice[..., None] for name, x in rows.items()}, layout)

    def decode(self, tokenizer, outputs, layout, columns):
        best = tf.argmax(outputs["logits"], axis=-1, output_type=tf.int32)
        return {
            "label": best,
            "choice": tf.gather(columns["choices"], best, batch_dims=1),
            "probabilities": tf.nn.softmax(outputs["logits"]),
        }

    def outputs(self) -> dict[str, str]:
        return {
            "label": "[batch] number of the best choice, from 0",
            "choice": "[batch] the best choice",
            "probabilities": "[batch, choices]",
        }

    def answer(self, example, found):
        chances = found["probabilities"][: len(example["choices"])]
        told = {"text": example["text"], "choices": example["choices"], "label": int(found["label"])}
        return {**told, "probabilities": [round(float(p), 6) for p in chances]}

    def label_arrays(self, examples, layout):
        labels = np.array([example["label"] for example in examples], np.int32)
        return {"label_ids": labels, "label_weights": np.ones(len(examples), np.float32)}, {}

    def objective(self) -> Supervised:
        return Supervised("choice_loss")

    def head_settings(self, dropout: float) -> dict:
        return {"dropout": dropout}

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy."""
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return {"examples": len(truth), "accuracy": float(metrics.accuracy_score(truth, found))}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The accuracy of chance."""
        return {"chance_baseline": float(np.mean([1.0 / len(example["choices"]) for example in examples]))}
