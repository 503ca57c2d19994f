"""A fine-tuned model directory -> the functions that answer."""

from types import ModuleType
from typing import NamedTuple

import keras

from bert_tf.interop import huggingface
from bert_tf.tasks import task_of
from bert_tf.tokenizer import Tokenizer


class Loaded(NamedTuple):
    """What a SavedModel or a prediction needs."""

    task: ModuleType
    model: keras.Model
    tokenizer: Tokenizer
    signatures: dict


def load(path: str, field: str = "--model") -> Loaded:
    """Loads a model directory.

    Raises:
      InputError: not a model directory, without a task's head, or with a weight missing.
    """
    directory = huggingface.open_directory(path, field)
    task = task_of(directory.architecture, path)
    # transformers leaves the names out where they are its own default, which has two classes.
    labels = directory.labels or ["LABEL_0", "LABEL_1"]
    model = task.make_model(directory.config, labels)
    huggingface.load_all_weights(path, model)
    tokenizer = Tokenizer(directory.vocabulary, lower_case=directory.lower_case)
    signatures = task.signatures(model, tokenizer, labels=labels, max_seq_length=directory.max_seq_length)
    return Loaded(task, model, tokenizer, signatures)
