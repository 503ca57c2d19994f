"""A model directory -> what answers."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from bert_tf.core import config_io
from bert_tf.core.config_finetune import FinetuneDataConfig, HeadConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface, sentence_transformers
from bert_tf.tasks import name_for, task_named
from bert_tf.tasks.task import Task, caller, outputs_of
from bert_tf.text.wordpiece import Tokenizer

_POOLER = "bert.pooler.dense.weight"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A task with its model and tokenizer.

    Attributes:
      task: knows labels and settings.
      model: built, with all its weights.
      tokenizer: of the model.
      call: the model as a graph.
    """

    task: Task
    model: keras.Model
    tokenizer: Tokenizer
    call: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

    def answers(self, examples: Sequence[dict], *, batch_size: int = 64) -> list[dict]:
        """One answer an example; see the task."""
        rows = self.task.rows(examples, self.tokenizer, labelled=False)
        return self.task.answers(examples, rows, outputs_of(self.call, rows.arrays, batch_size=batch_size))


def load(path: str, field: str = "--model", task: str | None = None, dtype: str = "float32", **columns) -> Loaded:
    """Loads a model directory.

    Args:
      path: the directory.
      field: the flag that names it.
      task: name of the task; None for the one that the model was made for.
      dtype: of weights and activations; outputs are float32 whatever it is.
      **columns: fields of FinetuneDataConfig that differ from those of the fine-tuning.

    Raises:
      InputError: not a model directory, without a task's head, or with a weight missing.
    """
    directory = huggingface.open_directory(path, field)
    kept = directory.task_settings
    name = task or kept.get("task") or name_for(directory.architecture, directory.settings, path)
    task_class = task_named(name)
    if task is not None and task_class.is_trained and name != "embedding":
        made_for = kept.get("task") or name_for(directory.architecture, directory.settings, path)
        if made_for != name:
            raise InputError(f"--task {name}: expected the task of {path}. It was made for {made_for}.")
    place = f"{path}/{huggingface.CONFIG}"
    same = kept.get("task") == name
    data = config_io.from_dict(FinetuneDataConfig, kept.get("data", {}) if same else {}, place)
    head = config_io.from_dict(HeadConfig, kept.get("head", {}) if same else {}, place)
    length = data.max_seq_length if same else directory.max_seq_length
    theirs = None if same or name != "embedding" else sentence_transformers.read(path)
    if theirs is not None:
        head, length = theirs[0], min(length, theirs[1] or length)
    if length > directory.config.max_position_embeddings:
        raise InputError(
            f"{place}: max_seq_length: expected at most {directory.config.max_position_embeddings}. Received {length}."
        )
    given = {name: value for name, value in columns.items() if value is not None}
    data = dataclasses.replace(data, **{"max_seq_length": length, **given})
    # transformers leaves the names out where they are its own default, which has two classes.
    labels = directory.labels or ["LABEL_0", "LABEL_1"]
    task = task_class(labels=labels, data=data, head=head)
    # The bare encoder may come with a pooler or without.
    more = {"with_pooler": directory.has_weight(_POOLER)} if task_class.architecture == "BertModel" else {}
    if kept.get("adapter_size"):
        more["adapter_size"] = kept["adapter_size"]
    model = task.make_model(directory.config, dtype=dtype, **more)
    huggingface.load_all_weights(path, model)
    tokenizer = Tokenizer(
        directory.vocabulary, **dataclasses.asdict(directory.tokenizer), keep_special_tokens=name == "fill_mask"
    )
    return Loaded(task, model, tokenizer, caller(model))
