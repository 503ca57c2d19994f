"""A task with a tokenizer: examples -> rows -> a model's outputs -> answers, by the two functions of the task."""

import collections
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError
from bert_tf.models.model import INPUTS, Model, make_model
from bert_tf.tasks.shared.truncation import Truncation, of_examples
from bert_tf.tasks.task import Arrays, Task
from bert_tf.text.tokenizer import TextTokenizer

_TEXTS_AT_ONCE = 1024
_ROWS_AT_ONCE = 64
_LENGTH_STEP = 16  # batches of answers are cut to a multiple of it, so that there are few shapes to compile

Call = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


class Chunk(NamedTuple):
    """Some examples and their rows.

    Attributes:
      examples, rows: which of all they are.
      columns: the graph's inputs.
      layout: see Framed.
    """

    examples: slice
    rows: slice
    columns: Arrays
    layout: Arrays


class Rows(NamedTuple):
    """Examples as a model takes them.

    Attributes:
      arrays: {name: [rows, ...]}, the model's inputs, and labels where they are asked for.
      chunks: of the examples, in order.
      notes: how many examples were treated in a way that a user should know of, by what was done.
      truncation: how much of the texts is in no row.
    """

    arrays: Arrays
    chunks: list[Chunk]
    notes: dict[str, int]
    truncation: Truncation

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.chunks[-1].rows.stop if self.chunks else 0


class TaskGraph:
    """See the module. To be kept, since its functions are traced once.

    Args:
      task: with labels and settings.
      tokenizer: of the model.
    """

    def __init__(self, task: Task, tokenizer: TextTokenizer):
        self.task, self.tokenizer = task, tokenizer

    @tf.function(reduce_retracing=True, autograph=False)
    def _frame(self, columns):
        return tuple(self.task.frame(self.tokenizer, columns, fixed_length=True, most_rows=None))

    @tf.function(reduce_retracing=True, autograph=False)
    def _decode(self, outputs, layout, columns):
        return self.task.decode(self.tokenizer, outputs, layout, columns)

    def rows(self, examples: Sequence[dict], *, labelled: bool) -> Rows:
        """Examples as arrays; at least one example.

        Raises:
          InputError: a label that training has not seen, naming its place.
        """
        parts: list[Arrays] = []
        chunks: list[Chunk] = []
        notes: collections.Counter = collections.Counter()
        truncation = Truncation()
        begin = 0
        for some in _chunks(examples, self.task.kind_of):
            columns = self.task.columns(some)
            rows, layout = _numpy(self._frame(_tensors(columns)))
            if labelled:
                labels, left_out = self.task.label_arrays(some, layout)
                rows = self.task.training_rows(rows, layout) | labels
                notes.update(left_out)
            notes.update(self.task.notes(layout))
            truncation += Truncation.of(layout)
            parts.append(rows)
            first = chunks[-1].rows.stop if chunks else 0
            count = len(rows["input_mask"])
            chunks.append(Chunk(slice(begin, begin + len(some)), slice(first, first + count), columns, layout))
            begin += len(some)
        return Rows(_joined(parts), chunks, {name: n for name, n in notes.items() if n}, truncation)

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Mapping[str, np.ndarray]) -> list[dict]:
        """One answer an example, from the model's outputs for each row.

        An example that is not read to the end has "truncated_tokens" in its answer, how many are not read.
        """
        answers = []
        for chunk in rows.chunks:
            part = self.task.by_row({name: x[chunk.rows] for name, x in outputs.items()}, chunk.layout)
            found = _numpy(self._decode(_tensors(part), _tensors(chunk.layout), _tensors(chunk.columns)))
            lost = of_examples(chunk.layout)
            for index, example in enumerate(examples[chunk.examples]):
                answer = self.task.answer(example, {name: x[index] for name, x in found.items()})
                answers.append(answer | ({"truncated_tokens": int(lost[index])} if lost[index] else {}))
        return answers


def check_segments(task: Task, config: EncoderConfig, place: str) -> None:
    """Refuses a network that has fewer types of tokens than a row of the task has texts; `place` names it."""
    if task.segments > config.type_vocab_size:
        raise InputError(
            f"{place}: expected a model for pairs of texts, with type_vocab_size {task.segments}. Received one with "
            f"{config.type_vocab_size}."
        )


def task_model(task: Task, config, *, dropout: float = 0.1, **kwargs) -> Model:
    """The built model of a task; kwargs: see make_model."""
    return make_model(config, {task.head: task.head_settings(dropout)}, **kwargs)


def caller(model: keras.Model) -> Call:
    """The model as a graph that gives what it gives outside training; to be kept, since it is traced once."""

    # One graph for single texts and another for pairs: with shapes of both, one graph would not know their rank.
    @functools.cache
    def of_rank(rank: int) -> Call:
        return tf.function(lambda batch: model(batch, training=False), reduce_retracing=True, autograph=False)

    return lambda batch: of_rank(len(batch["input_word_ids"].shape))(batch)


def outputs_of(task: Task, call: Call, arrays: Arrays, *, batch_size: int = _ROWS_AT_ONCE) -> Arrays:
    """The model's outputs for all rows, {name: [rows, ...]}.

    Rows of like length share a batch, which is cut to its longest row; outputs that run over tokens are filled up with
    zeros.

    Args:
      task: knows which outputs run over tokens.
      call: see caller.
      arrays: of Rows.
      batch_size: rows of a batch.
    """
    names, over_tokens = task.row_shapes(), task.token_outputs()
    count, full = arrays["input_mask"].shape[0], arrays["input_mask"].shape[-1]
    longest = arrays["input_mask"].sum(axis=-1).reshape(count, -1).max(axis=1, initial=1)
    results: Arrays = {}
    order = np.argsort(longest, kind="stable")
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        length = min(full, -(-int(longest[chosen].max()) // _LENGTH_STEP) * _LENGTH_STEP)
        batch = {name: arrays[name][chosen] for name in names}
        batch |= {name: x[..., :length] for name, x in batch.items() if name in INPUTS}
        for name, values in _numpy(call(_tensors(batch))).items():
            if name not in results:
                shape = (full, *values.shape[2:]) if name in over_tokens else values.shape[1:]
                results[name] = np.zeros((count, *shape), values.dtype)
            if name in over_tokens:
                results[name][chosen, :length] = values
            else:
                results[name][chosen] = values
    return results


def _chunks(examples: Sequence[dict], kind_of: Callable[[dict], str]) -> Iterator[list[dict]]:
    """Stretches of examples of one kind, in order."""
    for _, same in itertools.groupby(examples, kind_of):
        while some := list(itertools.islice(same, _TEXTS_AT_ONCE)):
            yield some


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """Arrays one behind the other; of those that differ in width, such as choices, the narrower are filled with 0."""
    joined = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        shape = [max(sizes) for sizes in zip(*(x.shape[1:] for x in arrays), strict=True)]
        joined[name] = np.concatenate(
            [np.pad(x, [(0, 0), *((0, n - m) for n, m in zip(shape, x.shape[1:], strict=True))]) for x in arrays]
        )
    return joined


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(x, tf.string if x.dtype == object else None) for name, x in arrays.items()}


def _numpy(found):
    return tf.nest.map_structure(lambda x: x.numpy(), found)
