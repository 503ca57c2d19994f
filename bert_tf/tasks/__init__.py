"""The table of tasks: a name in configs and the architecture in a model directory -> the task's module."""

import importlib
from types import ModuleType

from bert_tf.errors import InputError

TASKS = {"classification": "BertForSequenceClassification"}


def task_named(name: str) -> ModuleType:
    """The module of a task."""
    if name not in TASKS:
        raise InputError(f"task={name}: expected one of {', '.join(TASKS)}.")
    return importlib.import_module(f"bert_tf.tasks.{name}")


def task_of(architecture: str, path: str) -> ModuleType:
    """The module of the task that a model directory was fine-tuned for.

    Raises:
      InputError: the directory holds a model without a task's head.
    """
    for name, of_task in TASKS.items():
        if of_task == architecture:
            return task_named(name)
    raise InputError(
        f"--model {path}: expected a fine-tuned model, one of {', '.join(TASKS.values())}. Received: {architecture}. "
        "Fine-tune it first with bert_tf.finetune --set init_from=MODEL."
    )
