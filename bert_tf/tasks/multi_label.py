"""Any number of labels for a text or a pair, each decided on its own."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig, HeadConfig
from bert_tf.core.errors import require
from bert_tf.core.section import bounded
from bert_tf.objectives.supervised import SeveralLabels
from bert_tf.tasks.classification import labels_of, named
from bert_tf.tasks.shared.rows_of_files import list_of, text_of
from bert_tf.tasks.shared.sections import ClassDataConfig
from bert_tf.tasks.shared.sequences import WINDOWS, SequenceTask, asked
from bert_tf.tasks.task import check_label


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiLabelDataConfig(ClassDataConfig):
    """Columns, where an example may have its labels in one string."""

    label_separator: str = ","  # between the labels of an example that are one string

    def __post_init__(self):
        super().__post_init__()
        require(bool(self.label_separator), "data.label_separator must not be empty", repr(self.label_separator))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiLabelHeadConfig(HeadConfig):
    """When a label is given."""

    section: ClassVar[str] = "head"
    decision_threshold: float = bounded(0.5, above=0, below=1)  # a label is given from this probability on


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiLabelConfig(FinetuneConfig):
    """Any number of labels for each text."""

    task: Literal["multi_label"] = "multi_label"
    data: MultiLabelDataConfig = MultiLabelDataConfig()
    head: MultiLabelHeadConfig = MultiLabelHeadConfig()


class MultiLabel(SequenceTask):
    """Examples have "label" as a list. Answers: {"text", "labels": [...], "probabilities": {label: float}}."""

    name = "multi_label"
    config_class = MultiLabelConfig
    problem_type = "multi_label_classification"
    long_texts = WINDOWS
    has_labels = True
    metric = "micro_f1"
    method = "classify"

    @classmethod
    def read_label(cls, row: dict, data: Any, place: str) -> list[str]:
        """A list, or one string of labels with data.label_separator between them; empty for none."""
        if isinstance(row.get(data.label_field), list):
            return list_of(row, data.label_field, place)
        parts = text_of(row, data.label_field, place).split(data.label_separator)
        return [part.strip() for part in parts if part.strip()]

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: Any, field: str) -> list[str]:
        """See Classification."""
        return labels_of((label for example in examples for label in example["label"]), data, field)

    def sample_label(self) -> list[str]:
        return self.labels[:1]

    def targets(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """label_values float32 [examples, labels], 1 where a label is given."""
        return {"label_values": self._given(examples, "label").astype(np.float32)}

    def objective(self) -> SeveralLabels:
        return SeveralLabels("classification_loss", pooling=self.pooling())

    def decode(self, tokenizer, outputs, layout, columns):
        logits = self.logits(outputs, layout)
        labels = tf.repeat(tf.constant(self.labels)[None], tf.shape(logits)[0], axis=0)
        return {"probabilities": tf.sigmoid(logits), "labels": labels}

    def outputs(self) -> dict[str, str]:
        threshold = self.settings.decision_threshold
        return {
            "probabilities": f"[batch, labels] of each label by itself; predictions give it from {threshold} on",
            "labels": "[batch, labels] names of the columns of probabilities",
        }

    def answer(self, example, found):
        given = found["probabilities"] >= self.settings.decision_threshold
        chosen = [label for label, is_given in zip(self.labels, given, strict=True) if is_given]
        return {**asked(example), "labels": chosen, "probabilities": named(self.labels, found)}

    def _given(self, rows: Sequence[dict], key: str) -> np.ndarray:
        ids = {label: index for index, label in enumerate(self.labels)}
        given = np.zeros((len(rows), len(self.labels)), bool)
        for row, example in enumerate(rows):
            for label in example[key]:
                given[row, check_label(label, ids, example.get("place", "answer"))] = True
        return given

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """F1 by three means, and how often all labels of an example are right."""
        truth, found = self._given(examples, "label"), self._given(answers, "labels")
        scores = {"examples": len(examples), "exact_match": float((truth == found).all(axis=1).mean())}
        for average in ("micro", "macro", "weighted"):
            scores[f"{average}_f1"] = float(metrics.f1_score(truth, found, average=average, zero_division=0))
        return scores

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """Micro F1 of giving everyone the commonest label of training."""
        counts = collections.Counter(label for example in training for label in example["label"])
        majority = max(sorted(counts), key=counts.__getitem__)
        truth = self._given(examples, "label")
        found = self._given([{"labels": [majority]}] * len(examples), "labels")
        return {"majority_baseline": float(metrics.f1_score(truth, found, average="micro", zero_division=0))}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str:
        truth, found = self._given(examples, "label"), self._given(answers, "labels")
        return metrics.classification_report(truth, found, target_names=self.labels, digits=4, zero_division=0)
