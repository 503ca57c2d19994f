"""The table of tasks: a name in configs and, where another project made the model, what it says of itself -> a Task."""

import importlib

from bert_tf.core.errors import InputError
from bert_tf.tasks.task import Task

TASKS = {
    "classification": "Classification",
    "multi_label": "MultiLabel",
    "regression": "Regression",
    "token_classification": "TokenClassification",
    "question_answering": "QuestionAnswering",
    "multiple_choice": "MultipleChoice",
    "embedding": "Embedding",
    "fill_mask": "FillMask",
    "next_sentence": "NextSentence",
}
# (architecture, problem_type) of a model directory -> the task that it was made for.
_MADE_FOR = {
    ("BertForSequenceClassification", None): "classification",
    ("BertForSequenceClassification", "single_label_classification"): "classification",
    ("BertForSequenceClassification", "multi_label_classification"): "multi_label",
    ("BertForSequenceClassification", "regression"): "regression",
    ("BertForTokenClassification", None): "token_classification",
    ("BertForQuestionAnswering", None): "question_answering",
    ("BertForMultipleChoice", None): "multiple_choice",
    ("BertForMaskedLM", None): "fill_mask",
    ("BertForNextSentencePrediction", None): "next_sentence",
    ("BertForPreTraining", None): "fill_mask",
}


def task_named(name: str) -> type[Task]:
    """The class of a task."""
    if name not in TASKS:
        raise InputError(f"task={name}: expected one of {', '.join(TASKS)}.")
    return getattr(importlib.import_module(f"bert_tf.tasks.{name}"), TASKS[name])


def name_for(architecture: str, settings: dict, path: str) -> str:
    """The name of the task that a model directory is for.

    Args:
      architecture: of its config.json.
      settings: config.json.
      path: the directory, for errors.

    Raises:
      InputError: it holds an encoder without a head.
    """
    problem = settings.get("problem_type")
    if (
        architecture == "BertForSequenceClassification"
        and problem is None
        and len(settings.get("id2label") or "ab") == 1
    ):
        problem = "regression"  # as transformers takes a single output
    name = _MADE_FOR.get((architecture, problem))
    if name is None:
        known = sorted({architecture for architecture, _ in _MADE_FOR})
        raise InputError(
            f"--model {path}: expected a model with a head, one of {', '.join(known)}. Received: {architecture}. "
            "Fine-tune it first with bert_tf.finetune --set init_from=MODEL, or name a task with --task."
        )
    return name
