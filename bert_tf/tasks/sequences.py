"""What the tasks on whole texts or pairs share: reading, packing, and the model with its three problems."""

from collections.abc import Sequence

import numpy as np

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.heads import BertForSequenceClassification
from bert_tf.tasks.rows_of_files import read_rows, text_of
from bert_tf.tasks.task import Rows, Task, cut_note, pack
from bert_tf.text.wordpiece import Tokenizer


class SequenceTask(Task):
    """Examples have "text", "second_text" if the data have pairs, and "label" if they are labelled."""

    architecture = "BertForSequenceClassification"

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task."""
        examples = []
        for place, row in read_rows(path, field):
            example = {"place": place, "text": text_of(row, data.text_field, place)}
            if data.second_text_field is not None:
                example["second_text"] = text_of(row, data.second_text_field, place)
            if labelled:
                example["label"] = cls.read_label(row, data, place)
            examples.append(example)
        return examples

    @classmethod
    def read_label(cls, row: dict, data: FinetuneDataConfig, place: str):
        """The label of a row."""
        label = text_of(row, data.label_field, place)
        if not label.strip():
            raise InputError(f"{place}: expected a label in column {data.label_field!r}. Received nothing.")
        return label

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task."""
        length = self.data.max_seq_length
        arrays, cut = pack(tokenizer, *columns(examples, self.data), max_seq_length=length)
        if labelled:
            arrays |= self.label_arrays(examples)
            arrays["label_weights"] = np.ones(len(examples), np.float32)
        return Rows(arrays, {}, cut_note(cut, length))

    def label_arrays(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """{name: [examples, ...]} of the labels."""
        raise NotImplementedError

    def check_labels(self, examples: Sequence[dict]) -> None:
        """See Task."""
        self.label_arrays(examples)

    def outputs(self) -> int:
        """How many numbers the head gives."""
        return len(self.labels)

    def make_model(self, config: BertConfig, **kwargs) -> BertForSequenceClassification:
        """See Task."""
        kwargs |= {"problem": self.problem_type}
        model = BertForSequenceClassification(config, num_labels=self.outputs(), **kwargs)
        model.build()
        return model


def columns(examples: Sequence[dict], data: FinetuneDataConfig) -> list[list[str]]:
    """The texts, and the second texts if there are any."""
    names = ("text",) if data.second_text_field is None else ("text", "second_text")
    return [[example[name] for example in examples] for name in names]


def told(example: dict) -> dict[str, str]:
    """The texts of an example, to stand before its answer."""
    return {name: example[name] for name in ("text", "second_text") if name in example}
