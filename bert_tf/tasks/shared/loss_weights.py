"""What the config's section `tuning` changes in a task's loss: weights of labels, smoothing, focal loss."""

import math
from collections.abc import Sequence

import numpy as np

from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.objective import Objective
from bert_tf.objectives.supervised import SeveralLabels
from bert_tf.tasks.task import Arrays, Task

_BALANCED = "balanced"
_ONE_CLASS = ("classification", "token_classification")
# Fields of the section that change a loss: the tasks that have such a loss.
_TASKS = {
    "label_smoothing": _ONE_CLASS,
    "class_weights": _ONE_CLASS,
    "label_weights": _ONE_CLASS,
    "focal_gamma": (*_ONE_CLASS, "multi_label"),
    "positive_weights": ("multi_label",),
}


def check(task: Task, tuning: TuningConfig) -> None:
    """Refuses a field that the task's loss does not support.

    Raises:
      InputError: naming the field and the tasks that have one.
    """
    for name, tasks in _TASKS.items():
        value = getattr(tuning, name)
        if value != getattr(TuningConfig(), name) and task.name not in tasks:
            raise InputError(f"tuning.{name}={value}: expected task={' or '.join(tasks)}. Received: {task.name}.")


def weighed(task: Task, tuning: TuningConfig, arrays: Arrays) -> Arrays:
    """The training arrays with the weights of their labels and the smoothing.

    Weights multiply label_weights, by which a loss is divided too: as PyTorch's cross entropy takes `weight`.

    Args:
      task: with its labels.
      tuning: the config's section.
      arrays: label_ids int32 and label_weights float32 of equal shape.
    """
    check(task, tuning)
    arrays = dict(arrays)
    if tuning.class_weights == _BALANCED:
        counts = np.bincount(arrays["label_ids"].ravel(), arrays["label_weights"].ravel())
        # n / (classes x examples of the class), so that the weights' sum stays what it was.
        share = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
        arrays["label_weights"] = (arrays["label_weights"] * share[arrays["label_ids"]]).astype(np.float32)
    if tuning.label_weights:
        share = _of_labels("label_weights", tuning.label_weights, task.labels)
        arrays["label_weights"] = (arrays["label_weights"] * share[arrays["label_ids"]]).astype(np.float32)
    if tuning.label_smoothing:
        arrays["label_smoothing"] = np.full(len(arrays["label_ids"]), tuning.label_smoothing, np.float32)
    return arrays


def objective_of(task: Task, tuning: TuningConfig, arrays: Arrays | None = None) -> Objective:
    """What the model learns.

    Args:
      task: with its labels.
      tuning: the config's section.
      arrays: of training, for positive_weights=balanced; None where only the step's shape matters.
    """
    check(task, tuning)
    objective = task.objective()
    if tuning.focal_gamma:
        objective = objective.focal(tuning.focal_gamma)  # type: ignore[attr-defined]  # see _TASKS
    if tuning.positive_weights and isinstance(objective, SeveralLabels):
        if tuning.positive_weights == (_BALANCED,):
            values = np.ones((1, len(task.labels))) if arrays is None else arrays["label_values"]
            positives = values.sum(axis=0)
            weights = (len(values) - positives) / np.maximum(positives, 1.0)
            # A label that all examples have, or none, has nothing to balance.
            weights = np.where((positives == len(values)) | (positives == 0), 1.0, weights)
        else:
            weights = _of_labels("positive_weights", tuning.positive_weights, task.labels)
        objective = objective.weighing_positives(weights.tolist())
    return objective


def _of_labels(field: str, given: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """LABEL=WEIGHT of some labels -> float64 [labels], 1 for the others.

    Raises:
      InputError: an unknown or repeated label, or a weight that is not a positive number.
    """
    weights = np.ones(len(labels))
    named: set[str] = set()
    for item in given:
        label, _, number = item.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if label not in labels or label in named or not 0.0 < weight < math.inf:
            raise InputError(
                f"tuning.{field}: expected LABEL=WEIGHT, a number above 0, at most once for each of "
                f"{', '.join(labels)}. Received: {item}."
            )
        weights[list(labels).index(label)] = weight
        named.add(label)
    return weights
