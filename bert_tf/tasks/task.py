"""What every task has: examples -> rows -> a model's outputs -> answers -> scores."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig, HeadConfig
from bert_tf.core.errors import InputError
from bert_tf.text.wordpiece import Tokenizer

INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
_TEXTS_AT_ONCE = 4096
_LENGTH_STEP = 16  # batches of answers are cut to a multiple of it, so that there are few shapes to compile
# What a model gives for each row: {name: [rows, ...], or as many arrays of different lengths}.
Outputs = Mapping[str, Sequence[np.ndarray] | np.ndarray]


class Rows(NamedTuple):
    """Examples as a model takes them.

    Attributes:
      arrays: {name: [rows, ...]}, INPUTS among them; labels where they are asked for.
      extra: what `Task.answers` needs beside the model's outputs.
      notes: how many examples were treated in a way that a user should know of, by what was done.
    """

    arrays: dict[str, np.ndarray]
    extra: dict[str, Any]
    notes: dict[str, int]


class Task(abc.ABC):
    """A way of using the encoder: one subclass a file.

    An example is a dict; which keys it has is the subclass's, but "place", where it stands, for errors.

    Attributes:
      name: in configs, of the file.
      architecture: the class of transformers that opens the model.
      problem_type: as transformers' config.json has it, of sequence classifications.
      metric: by which evaluations are compared.

    Args:
      labels: names of the classes, for tasks that have them.
      data: columns and lengths.
      head: settings of the task.
    """

    name: ClassVar[str]
    architecture: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    metric: str
    takes_texts: ClassVar[bool] = True  # whether a file with one text a line is enough to predict from
    has_labels: ClassVar[bool] = False  # whether the head has an output for each of several classes
    is_trained: ClassVar[bool] = True  # by bert_tf.finetune; what is not has been pretrained

    def __init__(
        self,
        *,
        labels: Sequence[str] = (),
        data: FinetuneDataConfig = FinetuneDataConfig(),  # noqa: B008 - it is immutable
        head: HeadConfig = HeadConfig(),  # noqa: B008
    ):
        self.labels, self.data, self.head = list(labels), data, head

    @classmethod
    @abc.abstractmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """Examples of a file.

        Args:
          data: columns.
          path: the file; see bert_tf.core.config_finetune.
          field: the config field or flag that names it.
          labelled: whether the answers must be there.

        Raises:
          InputError: naming the file and line.
        """

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: FinetuneDataConfig, field: str) -> list[str]:
        """The classes of the training examples; [] for tasks without."""
        return []

    @abc.abstractmethod
    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """Examples as arrays.

        Raises:
          InputError: a label that training has not seen, naming its place.
        """

    @abc.abstractmethod
    def make_model(self, config: BertConfig, **kwargs) -> keras.Model:
        """The built model; kwargs: dropout, adapter_size, dtype."""

    @abc.abstractmethod
    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """One answer an example, as predictions are written, from the model's outputs for each row."""

    @abc.abstractmethod
    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Metrics of the answers to labelled examples."""

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """{name: what a trivial rule that knows the training examples would reach}."""
        return {}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str | None:
        """A table of scores by class, for a reader."""
        return None

    def confusion(self, examples: Sequence[dict], answers: Sequence[dict]) -> np.ndarray | None:
        """Counts [true class, answered class]."""
        return None

    def check_labels(self, examples: Sequence[dict]) -> None:  # noqa: B027 - most tasks have no classes
        """Refuses labels that training has not seen.

        Raises:
          InputError: naming the place of the first one.
        """

    def group(self) -> int:
        """Rows that must lie in one replica and microbatch."""
        return 1

    def settings(self) -> dict:
        """What a model directory keeps of the task."""
        data = dataclasses.asdict(self.data)
        kept = {name: value for name, value in data.items() if name not in ("train", "validation", "labels")}
        return {"task": self.name, "data": kept, "head": dataclasses.asdict(self.head)}


def pack(tokenizer: Tokenizer, *columns: Sequence[str], max_seq_length: int) -> tuple[dict[str, np.ndarray], int]:
    """Texts, or pairs of them, as INPUTS int32 [n, max_seq_length], and how many of the n had to be cut."""
    parts, cut = [], 0
    for start in range(0, len(columns[0]), _TEXTS_AT_ONCE):
        texts = [tf.constant(list(column[start : start + _TEXTS_AT_ONCE])) for column in columns]
        lengths = sum(tokenizer.tokenize(column).row_lengths().numpy() for column in texts)
        cut += int((lengths + len(columns) + 1 > max_seq_length).sum())
        parts.append({k: x.numpy() for k, x in tokenizer.pack(*texts, max_seq_length=max_seq_length).items()})
    if not parts:
        return {name: np.zeros((0, max_seq_length), np.int32) for name in INPUTS}, 0
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, cut


def cut_note(cut: int, max_seq_length: int) -> dict[str, int]:
    """The note that texts were cut, {} if none was."""
    return {f"cut to {max_seq_length} tokens": cut} if cut else {}


def caller(model: keras.Model) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """The model as a graph that gives what it gives outside training; to be kept, since it is traced once."""

    @tf.function(reduce_retracing=True)
    def call(batch):
        return {name: x for name, x in model(batch, training=False).items() if name != "hidden_states"}

    return call


def outputs_of(
    call: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    arrays: dict[str, np.ndarray],
    *,
    batch_size: int = 64,
) -> dict[str, list[np.ndarray]]:
    """The model's outputs for all rows, {name: one array a row}, in their order.

    Rows of like length share a batch, which is cut to its longest row, and so are outputs that run over tokens.

    Args:
      call: see caller.
      arrays: of Rows.
      batch_size: rows of a batch.
    """
    names = [name for name in arrays if name in (*INPUTS, "masked_lm_positions")]
    count, full = arrays["input_mask"].shape[0], arrays["input_mask"].shape[-1]
    longest = arrays["input_mask"].sum(axis=-1).reshape(count, -1).max(axis=1, initial=1)
    results: dict[str, list] = {}
    order = np.argsort(longest, kind="stable")
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        length = min(full, -(-int(longest[chosen].max()) // _LENGTH_STEP) * _LENGTH_STEP)
        batch = {name: arrays[name][chosen] for name in names}
        batch |= {name: x[..., :length] for name, x in batch.items() if name in INPUTS}
        for name, values in call({name: tf.constant(x) for name, x in batch.items()}).items():
            rows = results.setdefault(name, [None] * count)
            for row, value in zip(chosen, values.numpy(), strict=True):
                rows[row] = value
    return results


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 over the last axis."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def check_label(label: str, ids: dict[str, int], place: str) -> int:
    """The id of a label.

    Raises:
      InputError: training has not seen it.
    """
    if label not in ids:
        raise InputError(f"{place}: expected a label of {', '.join(ids)}. Received: {label!r}.")
    return ids[label]
