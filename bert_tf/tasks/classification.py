"""One label for a text or a pair: sentiment, topic, inference, paraphrase (Devlin et al. 2018, 4.1)."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.supervised import Supervised
from bert_tf.tasks.shared.sections import ClassDataConfig
from bert_tf.tasks.shared.sequences import WINDOWS, SequenceTask, asked
from bert_tf.tasks.task import check_label, text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(FinetuneConfig):
    """One label for each text."""

    task: Literal["classification"] = "classification"
    data: ClassDataConfig = ClassDataConfig()


class Classification(SequenceTask):
    """Answers: {"text", "label", "probabilities": {label: float}}."""

    name = "classification"
    config_class = ClassificationConfig
    problem_type = "single_label_classification"
    long_texts = WINDOWS
    has_labels = True
    metric = "accuracy"
    method = "classify"

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: Any, field: str) -> list[str]:
        """data.labels, else those of the examples, sorted, so that their ids do not depend on their order."""
        return labels_of((example["label"] for example in examples), data, field)

    def targets(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """label_ids int32 [examples]."""
        ids = {label: index for index, label in enumerate(self.labels)}
        found = [check_label(example["label"], ids, example["place"]) for example in examples]
        return {"label_ids": np.array(found, np.int32)}

    def objective(self) -> Supervised:
        return Supervised("classification_loss", pooling=self.pooling())

    def decode(self, tokenizer, outputs, layout, columns):
        names, logits = tf.constant(self.labels), self.logits(outputs, layout)
        return {
            "label": tf.gather(names, tf.argmax(logits, axis=-1)),
            "probabilities": tf.nn.softmax(logits),
            "labels": tf.repeat(names[None], tf.shape(logits)[0], axis=0),
        }

    def outputs(self) -> dict[str, str]:
        return {
            "label": "[batch] the likeliest label",
            "probabilities": "[batch, labels]",
            "labels": "[batch, labels] names of the columns of probabilities",
        }

    def answer(self, example, found):
        return {**asked(example), "label": text(found["label"]), "probabilities": named(self.labels, found)}

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy, F1 by three means, Matthews' correlation; of two labels, F1 of the second, as GLUE has it."""
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        scores = {"examples": len(truth), "accuracy": float(metrics.accuracy_score(truth, found))}
        for average in ("macro", "weighted"):
            scores[f"{average}_f1"] = float(metrics.f1_score(truth, found, average=average, zero_division=0))
        scores["matthews"] = float(metrics.matthews_corrcoef(truth, found))
        if len(self.labels) == 2:
            scores["f1"] = float(metrics.f1_score(truth, found, pos_label=self.labels[1], zero_division=0))
        return scores

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The accuracy of the commonest label of training."""
        counts = collections.Counter(example["label"] for example in training)
        majority = max(sorted(counts), key=counts.__getitem__)
        return {"majority_baseline": float(np.mean([example["label"] == majority for example in examples]))}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str:
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return metrics.classification_report(truth, found, labels=self.labels, digits=4, zero_division=0)

    def confusion(self, examples: Sequence[dict], answers: Sequence[dict]) -> np.ndarray:
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return metrics.confusion_matrix(truth, found, labels=self.labels)


def named(labels: Sequence[str], found: dict[str, np.ndarray]) -> dict[str, float]:
    """{label: probability}."""
    return {label: round(float(p), 6) for label, p in zip(labels, found["probabilities"], strict=True)}


def labels_of(labels, data: Any, field: str) -> list[str]:
    """data.labels, else the different ones among `labels`, sorted.

    Raises:
      InputError: fewer than two.
    """
    names = list(data.labels) if data.labels is not None else sorted(set(labels))
    if len(names) < 2:
        raise InputError(
            f"{field}: expected at least two different labels. Received only {', '.join(map(repr, names))}."
        )
    return names
