"""Any number of labels for a text or a pair, each decided on its own."""

import collections
from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.tasks.classification import labels_of
from bert_tf.tasks.rows_of_files import list_of, text_of
from bert_tf.tasks.sequences import SequenceTask, told
from bert_tf.tasks.task import Outputs, Rows, check_label


class MultiLabel(SequenceTask):
    """Examples have "label" as a list. Answers: {"text", "labels": [...], "probabilities": {label: float}}."""

    name = "multi_label"
    problem_type = "multi_label_classification"
    has_labels = True
    metric = "micro_f1"

    @classmethod
    def read_label(cls, row: dict, data: FinetuneDataConfig, place: str) -> list[str]:
        """A list, or one string of labels with data.label_separator between them; empty for none."""
        if isinstance(row.get(data.label_field), list):
            return list_of(row, data.label_field, place)
        parts = text_of(row, data.label_field, place).split(data.label_separator)
        return [part.strip() for part in parts if part.strip()]

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: FinetuneDataConfig, field: str) -> list[str]:
        """See Classification."""
        return labels_of((label for example in examples for label in example["label"]), data, field)

    def label_arrays(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """label_values float32 [examples, labels], 1 where a label is given."""
        return {"label_values": self._given(examples, "label").astype(np.float32)}

    def _given(self, rows: Sequence[dict], key: str) -> np.ndarray:
        ids = {label: index for index, label in enumerate(self.labels)}
        given = np.zeros((len(rows), len(self.labels)), bool)
        for row, example in enumerate(rows):
            for label in example[key]:
                given[row, check_label(label, ids, example.get("place", "answer"))] = True
        return given

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        answers = []
        for example, logits in zip(examples, outputs["logits"], strict=True):
            chances = 1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64)))
            named = {label: round(float(p), 6) for label, p in zip(self.labels, chances, strict=True)}
            chosen = [x for x, p in zip(self.labels, chances, strict=True) if p >= self.head.decision_threshold]
            answers.append({**told(example), "labels": chosen, "probabilities": named})
        return answers

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
        """See Task."""
        truth, found = self._given(examples, "label"), self._given(answers, "labels")
        return metrics.classification_report(truth, found, target_names=self.labels, digits=4, zero_division=0)
