"""The interface of a task, and the table of tasks.

A task is one file, bert_tf/tasks/TASK.py: its config, how its examples are read, and one graph from texts to answers in
two halves. `frame` makes rows of texts, `decode` makes answers of what the model gives for the rows. Prediction,
evaluation, training's scores and the SavedModel all run these two (see bert_tf/tasks/graph.py).

Example: a task whose answer is how sure the model is of its first class.
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class SurenessConfig(FinetuneConfig):
      task: str = "sureness"
      data: TextDataConfig = TextDataConfig()

  class Sureness(SequenceTask):
      name, config_class, metric = "sureness", SurenessConfig, "mean"

      def decode(self, tokenizer, outputs, layout, columns):
          return {"sureness": tf.nn.softmax(outputs["logits"])[:, 0]}

      def answer(self, example, found):
          return {"text": example["text"], "sureness": float(found["sureness"])}
      ...

  TASKS["sureness"] = "my_package.sureness:Sureness"
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.core import config_io
from bert_tf.core.config import FinetuneConfig, HeadConfig, TaskDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.family import loaded
from bert_tf.models.model import INPUTS
from bert_tf.objectives.objective import Objective
from bert_tf.text.tokenizer import TextTokenizer

# A config's `task` -> module:class. A model directory of others is for the first whose head it has.
TASKS: dict[str, str] = {
    "classification": "bert_tf.tasks.classification:Classification",
    "multi_label": "bert_tf.tasks.multi_label:MultiLabel",
    "regression": "bert_tf.tasks.regression:Regression",
    "token_classification": "bert_tf.tasks.token_classification:TokenClassification",
    "question_answering": "bert_tf.tasks.question_answering:QuestionAnswering",
    "multiple_choice": "bert_tf.tasks.multiple_choice:MultipleChoice",
    "embedding": "bert_tf.tasks.embedding:Embedding",
    "fill_mask": "bert_tf.tasks.fill_mask:FillMask",
    "next_sentence": "bert_tf.tasks.next_sentence:NextSentence",
}
_OF_TRAINING = ("train", "validation", "labels")  # fields of `data` that say nothing about a text to answer

Columns = Mapping[str, Any]  # {input: string tensor [n, ...]}
Arrays = dict[str, np.ndarray]


class Framed(NamedTuple):
    """Texts as rows for the model.

    Attributes:
      rows: the model's inputs, {name: int32 [rows, ...]}.
      layout: what `decode` needs beside the model's outputs, and of every task text_tokens and lost_tokens: tokens of
        each example's texts, without special tokens, and how many of them no row holds; whole numbers [examples] or
        [examples, texts].
    """

    rows: dict[str, tf.Tensor]
    layout: dict[str, tf.Tensor]


class Task(abc.ABC):
    """A way of using an encoder.

    An example is a dict; which keys it has is the subclass's, but "place", where it stands, for errors.

    Attributes:
      name: in configs, of the file.
      config_class: of a fine-tuning run; its `data` and `head` have the task's own sections.
      head: kind of the model's head, see bert_tf/models/heads.py.
      problem_type: as transformers' config.json has it, of sequence classifications.
      metric: the score by which evaluations are compared.
      errors: names of scores of which less is better.
      takes_texts: whether a file with one text a line is enough to predict from.
      has_labels: whether the head has an output for each of several classes.
      is_trained: by bert_tf.finetune; what is not has been pretrained.
      has_windows: whether a text may become several rows; then `decode` is called with at least one text.
      long_texts: values of data.long_texts that it takes, where its data have this field.
      signature: name of the SavedModel's signature beside serving_default; None for none.
      method: of TF Serving's API that it answers too: "classify" or "regress".
      too_long: what happens to texts that are longer than a row.
    """

    name: ClassVar[str]
    config_class: ClassVar[Any]
    head: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    metric: str
    errors: ClassVar[frozenset[str]] = frozenset()
    takes_texts: ClassVar[bool] = True
    has_labels: ClassVar[bool] = False
    is_trained: ClassVar[bool] = True
    has_windows: bool = False
    long_texts: ClassVar[tuple[str, ...]] = ("truncate",)
    signature: ClassVar[str | None] = None
    method: ClassVar[str | None] = None
    too_long: str = "truncated at max_seq_length tokens, of pairs the longer one first"

    def __init__(
        self, *, labels: Sequence[str] = (), data: TaskDataConfig | None = None, settings: HeadConfig | None = None
    ):
        """Args:
        labels: names of the classes, for tasks that have them.
        data: columns and lengths; None for the defaults.
        settings: the config's section `head`; None for the defaults.
        """
        defaults = self.config_class()
        self.labels = list(labels)
        self.data: Any = data or defaults.data
        self.settings: Any = settings or defaults.head
        wanted = getattr(self.data, "long_texts", "truncate")
        if wanted not in self.long_texts:
            raise InputError(
                f"data.long_texts={wanted}: task={self.name} takes {' or '.join(self.long_texts)}. See docs/tasks.md."
            )

    # Examples.

    @classmethod
    @abc.abstractmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """Examples of a file.

        Args:
          data: columns.
          path: the file; see TaskDataConfig.
          field: the config field or flag that names it.
          labelled: whether the answers must be there.

        Raises:
          InputError: naming the file and line.
        """

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: Any, field: str) -> list[str]:
        """The classes of the training examples; [] for tasks without."""
        return []

    def check_labels(self, examples: Sequence[dict]) -> None:  # noqa: B027 - most tasks have no classes
        """Refuses labels that training has not seen.

        Raises:
          InputError: naming the place of the first one.
        """

    def continues_labels(self, others: Sequence[str]) -> bool:
        """Whether version 0.1 would have learned these other labels from the same examples."""
        return False

    @abc.abstractmethod
    def sample(self, text: str) -> dict:
        """A labelled example made of a text: warm-up, preflight and tests ask for it."""

    # The graph.

    @abc.abstractmethod
    def inputs(self) -> dict[str, str]:
        """{input of the graph: what it is}. Strings, [n] each, or [n, choices] of `matrix_inputs`."""

    matrix_inputs: ClassVar[tuple[str, ...]] = ()

    def fields(self) -> dict[str, str]:
        """{input of a signature: the column that files have it in}, where the two differ; bulk prediction asks."""
        named = ((name, getattr(self.data, f"{name}_field", None)) for name in self.inputs())
        return {name: column for name, column in named if column is not None}

    def counts(self) -> dict[str, str]:
        """{output that is filled up behind its items: the output that counts them, or an input that has as many}."""
        return {}

    def more_signatures(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """{name of a further signature of the SavedModel: (its inputs, its outputs), as in `inputs` and `outputs`}."""
        return {}

    def request(self, examples: Sequence[dict], names: Sequence[str]) -> Arrays:
        """Examples as the inputs of a signature, {name: strings} for each of `names`."""
        columns = self.columns(examples)
        return {name: columns[name] for name in names}

    @property
    def segments(self) -> int:
        """How many texts share a row: 2 for pairs, which need a model of as many types of tokens."""
        return 1

    def columns(self, examples: Sequence[dict]) -> Arrays:
        """Examples of one kind (see `kind_of`) as the graph's inputs."""
        return {name: strings(example[name] for example in examples) for name in self.inputs()}

    def kind_of(self, example: dict) -> str:
        """Examples of different kinds have other inputs, and are not framed together."""
        return ""

    @abc.abstractmethod
    def frame(self, tokenizer: TextTokenizer, columns: Columns, *, fixed_length: bool, most_rows: int | None) -> Framed:
        """Texts as rows.

        Args:
          tokenizer: of the model.
          columns: the inputs.
          fixed_length: rows of max_seq_length tokens; otherwise as long as the longest.
          most_rows: rows (or masks) of a text that are looked at; None for all.
        """

    @abc.abstractmethod
    def decode(
        self, tokenizer: TextTokenizer, outputs: dict[str, tf.Tensor], layout: dict[str, tf.Tensor], columns: Columns
    ) -> dict[str, tf.Tensor]:
        """What the model gives for the rows -> answers, {name: dense tensor [n, ...]}."""

    @abc.abstractmethod
    def outputs(self) -> dict[str, str]:
        """{answer of `decode` that a SavedModel gives: what it is}."""

    def token_outputs(self) -> dict[str, list]:
        """{output of the model that runs over tokens: its shape behind the rows}."""
        return {}

    def row_outputs(self) -> dict[str, list]:
        """{output of the model that `decode` reads: its shape behind the rows}, for tasks with windows."""
        return self.token_outputs()

    def row_shapes(self) -> dict[str, list]:
        """{input of the model: its shape behind the rows}, for rows of fixed length; None where it varies."""
        return {name: [self.data.max_seq_length] for name in INPUTS}

    # Answers.

    @abc.abstractmethod
    def answer(self, example: dict, found: Arrays) -> dict:
        """An answer as predictions are written, from one example's part of what `decode` gives."""

    @abc.abstractmethod
    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Metrics of the answers to labelled examples."""

    def as_asked(self, examples: Sequence[dict]) -> list[dict]:
        """Labelled examples in the form in which users ask them, where it is another; [] where it is not."""
        return []

    def scores_as_asked(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Metrics of the answers to examples of `as_asked`, by names that begin with "text_"."""
        return {}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """{name: what a trivial rule that knows the training examples would reach}."""
        return {}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str | None:
        """A table of scores by class, for a reader."""
        return None

    def confusion(self, examples: Sequence[dict], answers: Sequence[dict]) -> np.ndarray | None:
        """Counts [true class, answered class]."""
        return None

    # Training.

    def label_arrays(self, examples: Sequence[dict], layout: Arrays) -> tuple[Arrays, dict[str, int]]:
        """{label: array [rows, ...]} as the objective reads them, and counts of what could not be learned, by why.

        Raises:
          InputError: a label that training has not seen, naming its place.
        """
        raise NotImplementedError

    def training_rows(self, rows: Arrays, layout: Arrays) -> Arrays:
        """The rows of `frame` as the model is trained on them: [examples, windows, ...] where windows are pooled."""
        return rows

    def by_row(self, outputs: Arrays, layout: Arrays) -> Arrays:
        """What the model gives for training_rows -> what it gives for the rows of `frame`."""
        return outputs

    def notes(self, layout: Arrays) -> dict[str, int]:
        """How many examples a user should know of, beside those that Rows.truncation counts, by what was done."""
        return {}

    def objective(self) -> Objective:
        """What the model learns."""
        raise NotImplementedError

    def head_settings(self, dropout: float) -> dict:
        """Settings of the model's head; `dropout` stands before it."""
        return {}

    def group(self) -> int:
        """Rows that must lie in one replica and microbatch."""
        return 1

    def told(self) -> dict:
        """What a model directory keeps of the task."""
        data = {name: x for name, x in dataclasses.asdict(self.data).items() if name not in _OF_TRAINING}
        return {"task": self.name, "data": data, "head": dataclasses.asdict(self.settings)}

    @classmethod
    def from_told(cls, told: Mapping, place: str, **changes: Any) -> tuple[Any, Any]:
        """The sections `data` and `head` of what `told` gave; version 0.1 kept the fields of all tasks."""
        defaults, sections = cls.config_class(), []
        for name in ("data", "head"):
            section = type(getattr(defaults, name))
            known = config_io.field_names(section)
            values = {key: value for key, value in told.get(name, {}).items() if key in known}
            sections.append(config_io.from_dict(section, values, place))
        data = dataclasses.replace(sections[0], **{key: x for key, x in changes.items() if x is not None})
        return data, sections[1]


def task_named(name: str) -> type[Task]:
    """The class of a task."""
    if name not in TASKS:
        raise InputError(f"task={name}: expected one of {', '.join(TASKS)}.")
    return loaded(TASKS[name])


def task_for(heads: Sequence[str], settings: Mapping, path: str) -> str:
    """The name of the task that a model directory is for.

    Args:
      heads: kinds of the heads that it holds.
      settings: config.json.
      path: the directory, for errors.

    Raises:
      InputError: it holds an encoder without a head.
    """
    problem = settings.get("problem_type")
    if problem is None:  # a single output is a number, as transformers takes it
        one = len(settings.get("id2label") or "ab") == 1
        problem = "regression" if one else "single_label_classification"
    for name in TASKS:
        task_class = task_named(name)
        if task_class.head in heads and task_class.problem_type in (None, problem):
            return name
    raise InputError(
        f"--model {path}: expected a model with a head. Received an encoder alone. Fine-tune it first with "
        "bert_tf.finetune --set init_from=MODEL, or name a task with --task."
    )


def strings(values: Any) -> np.ndarray:
    """Texts as an array of objects: NumPy's own strings lose NUL characters at their ends."""
    values = list(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def text(value: Any) -> str:
    """A string of a graph's answer."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def check_label(label: str, ids: Mapping[str, int], place: str) -> int:
    """The id of a label.

    Raises:
      InputError: training has not seen it.
    """
    if label not in ids:
        raise InputError(f"{place}: expected a label of {', '.join(ids)}. Received: {label!r}.")
    return ids[label]


def restore_config(path: str) -> FinetuneConfig:
    """A fine-tuning run's config.json, also of version 0.1, whose sections had the fields of all tasks."""
    values = config_io.read_json(path)
    task_class = task_named(values.get("task", "classification"))
    defaults = task_class.config_class()
    sections = {name: type(getattr(defaults, name)) for name in ("data", "head")}
    for name, section in sections.items():
        known = config_io.field_names(section)
        values[name] = {key: value for key, value in values.get(name, {}).items() if key in known}
    config = config_io.from_dict(task_class.config_class, values, path, sections)
    config_io.check_types(config, path)
    return config
