"""The functions that a SavedModel offers, made of a task's graph."""

import inspect
from collections.abc import Callable, Iterable
from typing import NamedTuple

import tensorflow as tf

from bert_tf.models.model import Model
from bert_tf.tasks.shared.graph_rows import MAX_ROWS_OF_A_TEXT, as_vector, at_least_one, in_parts
from bert_tf.tasks.task import Task
from bert_tf.text.tokenizer import TextTokenizer

DEFAULT, TOKENS = "serving_default", "tokens"
MOST_MASKS = 32  # of a text: each has a number for every token of the vocabulary
_WHAT = {
    "input_word_ids": "ids of [CLS] text [SEP], or of pairs, and [PAD]",
    "input_mask": "1 for tokens",
    "input_type_ids": "1 for the second text",
    "masked_lm_positions": "of the masks, filled up with 0",
}


class Signature(NamedTuple):
    """A function of a SavedModel.

    Attributes:
      function: named tensors -> {name: dense tensor}.
      inputs, outputs: {name: what it is}.
      method: of TF Serving's API: predict, classify or regress.
    """

    function: tf.types.experimental.PolymorphicFunction
    inputs: dict[str, str]
    outputs: dict[str, str]
    method: str = "predict"


def signatures(task: Task, model: Model, tokenizer: TextTokenizer) -> dict[str, Signature]:
    """{name: signature} for a task's model."""
    maker = _Maker(task, model, tokenizer)
    default = maker.of_texts(task.inputs(), task.outputs())
    names = (DEFAULT,) if task.signature is None else (DEFAULT, task.signature)
    made = {**dict.fromkeys(names, default), TOKENS: maker.of_tokens()}
    made |= {name: maker.of_texts(*told) for name, told in task.more_signatures().items()}
    if task.method is not None:
        made[task.method] = maker.of_examples(task.method)
    return made


class _Maker:
    """Makes the signatures of one model."""

    def __init__(self, task: Task, model: Model, tokenizer: TextTokenizer):
        self.task, self.model, self.tokenizer = task, model, tokenizer

    def _call(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self.model(rows, training=False)

    def _answers(self, columns: dict[str, tf.Tensor], names: Iterable[str]) -> dict[str, tf.Tensor]:
        """The task's graph from end to end: the answers of these names."""
        task, count = self.task, None
        if task.has_windows:
            padded = {name: at_least_one(column) for name, column in columns.items()}
            columns, count = {name: column for name, (column, _) in padded.items()}, next(iter(padded.values()))[1]
        most = MAX_ROWS_OF_A_TEXT if task.has_windows else MOST_MASKS
        framed = task.frame(self.tokenizer, columns, fixed_length=False, most_rows=most)
        rows, shapes = framed.rows, task.row_outputs()
        outputs = in_parts(self._call, rows, shapes) if task.has_windows else self._call(rows)
        found = task.decode(self.tokenizer, outputs, framed.layout, columns)
        return {name: found[name][:count] if task.has_windows else found[name] for name in names}

    def of_texts(self, inputs: dict[str, str], outputs: dict[str, str]) -> Signature:
        """Strings -> answers."""
        task = self.task

        def body(*given):
            columns = {}
            for name, column in zip(inputs, given, strict=True):
                is_matrix = name in task.matrix_inputs
                columns[name] = _as_matrix(column) if is_matrix else as_vector(column)
            return self._answers(columns, outputs)

        specs = {
            name: tf.TensorSpec([None, None] if name in task.matrix_inputs else [None], tf.string) for name in inputs
        }
        return _signature(body, specs, inputs, outputs)

    def of_tokens(self) -> Signature:
        """The model itself, for rows of fixed length, so that a server may batch them."""
        specs = {}
        for name, shape in self.task.row_shapes().items():
            fixed = [MOST_MASKS] if name == "masked_lm_positions" else shape
            specs[name] = tf.TensorSpec([None, *fixed], tf.int32)
        told = {name: _WHAT[name] for name in specs}
        signature = _signature(lambda *rows: self._call(dict(zip(specs, rows, strict=True))), specs, told, {})
        shapes = signature.function.get_concrete_function().structured_outputs
        return signature._replace(outputs=dict.fromkeys(shapes, "the model's output"))

    def of_examples(self, method: str) -> Signature:
        """Serialized tf.Example with the columns of texts, as TF Serving's classify and regress send them."""
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in self.task.inputs()}

        def body(inputs):
            parsed = tf.io.parse_example(as_vector(inputs), features)  # sorted by name, unlike the task's inputs
            found = self._answers({name: parsed[name] for name in features}, self.task.outputs())
            if method == "classify":
                return {"classes": found["labels"], "scores": found["probabilities"]}
            return {"outputs": found["value"][:, None]}

        outputs = {"classes": "[batch, labels]", "scores": "[batch, labels]"}
        told = {"inputs": f"serialized tf.Example with the bytes features {', '.join(features)}"}
        return _signature(
            body,
            {"inputs": tf.TensorSpec([None], tf.string)},
            told,
            outputs if method == "classify" else {"outputs": "[batch, 1]"},
            method,
        )


def _as_matrix(texts: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=texts, shape=None), [None, None])


def _signature(body: Callable[..., dict], specs: dict[str, tf.TensorSpec], inputs, outputs, method="predict"):
    """A signature whose function has the parameters that `specs` names."""

    def function(*tensors):
        return body(*tensors)

    # tf.function takes the names of a signature's inputs from those of the parameters.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = inspect.Signature([inspect.Parameter(name, kind) for name in specs])
    function.__signature__ = names  # type: ignore[attr-defined]
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return Signature(tf.function(function, input_signature=named, autograph=False), inputs, outputs, method)
