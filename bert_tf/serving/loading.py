"""A model directory -> what answers."""

import collections
import dataclasses
from collections.abc import Callable, Sequence

from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface, sentence_transformers
from bert_tf.interop.source import local_model
from bert_tf.models.heads import COMMON
from bert_tf.models.model import Model
from bert_tf.tasks.graph import Call, TaskGraph, caller, check_segments, outputs_of, task_model
from bert_tf.tasks.shared.truncation import Truncation
from bert_tf.tasks.task import Task, task_for, task_named


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A task with its model and tokenizer.

    Attributes:
      graph: of the task and the tokenizer.
      model: built, with all its weights.
      call: the model as a graph.
    """

    graph: TaskGraph
    model: Model
    call: Call

    @property
    def task(self) -> Task:
        return self.graph.task

    def answers(
        self, examples: Sequence[dict], on_rows: Callable[[Truncation], None] = lambda truncation: None
    ) -> list[dict]:
        """One answer an example, in their order; see the task. Examples of different kinds may be mixed.

        on_rows is called with how much of some examples the model does not read.
        """
        numbers_of_kinds = collections.defaultdict(list)
        for number, example in enumerate(examples):
            numbers_of_kinds[self.task.kind_of(example)].append(number)
        answers: dict[int, dict] = {}
        for numbers in numbers_of_kinds.values():
            same = [examples[number] for number in numbers]
            rows = self.graph.rows(same, labelled=False)
            on_rows(rows.truncation)
            found = self.graph.answers(same, rows, outputs_of(self.task, self.call, rows.arrays))
            answers.update(zip(numbers, found, strict=True))
        return [answers[number] for number in range(len(examples))]


def load(path: str, field: str = "--model", task: str | None = None, dtype: str = "float32", **columns) -> Loaded:
    """Loads a model directory.

    Args:
      path: the directory.
      field: the flag that names it.
      task: name of the task; None for the one that the model was made for.
      dtype: of weights and activations; outputs are float32 whatever it is.
      **columns: fields of the task's section `data` that differ from those of the fine-tuning.

    Raises:
      InputError: not a model directory, without a task's head, or with a weight missing.
    """
    path = local_model(path)
    directory = huggingface.open_directory(path, field)
    told = directory.task_settings
    name = task or told.get("task") or task_for(directory.heads, directory.settings, path)
    task_class = task_named(name)
    if task is not None and task_class.is_trained and name != "embedding":
        made_for = told.get("task") or task_for(directory.heads, directory.settings, path)
        if made_for != name:
            raise InputError(f"--task {name}: expected the task of {path}. It was made for {made_for}.")
    place = f"{path}/{huggingface.CONFIG}"
    is_same = told.get("task") == name
    data, settings = task_class.from_told(told if is_same else {}, place, **columns)
    length = data.max_seq_length if is_same else directory.max_seq_length
    pooling = None
    if name == "embedding" and not is_same:
        pooling = sentence_transformers.read(path, lower_case=directory.tokenizer.lower_case)
    if pooling is not None:
        settings = dataclasses.replace(settings, **pooling[0].head_settings())
        length = min(length, pooling[1] or length)
    if length > directory.config.max_position_embeddings:
        raise InputError(
            f"{place}: max_seq_length: expected at most {directory.config.max_position_embeddings}. Received {length}."
        )
    data = dataclasses.replace(data, max_seq_length=length)
    # transformers leaves the names out where they are its own default, which has two classes.
    made = task_class(labels=directory.labels or ["LABEL_0", "LABEL_1"], data=data, settings=settings)
    check_segments(made, directory.config, f"{field} {path}")
    model = task_model(
        made,
        directory.config,
        dtype=dtype,
        with_pooler=kept_pooler(made, directory),
        adapter_size=told.get("adapter_size"),
    )
    huggingface.load_all_weights(path, model)
    tokenizer = directory.make_tokenizer(keep_special_tokens=name == "fill_mask")
    return Loaded(TaskGraph(made, tokenizer), model, caller(model))


def kept_pooler(task: Task, directory: huggingface.ModelDirectory | None) -> bool | None:
    """Whether the saved model has a pooler: it does if the loaded model had one.

    None for a task whose head decides this.
    """
    return directory.has_pooler if task.head in COMMON and directory is not None else None
