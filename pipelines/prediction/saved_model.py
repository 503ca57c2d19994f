"""An exported SavedModel as Beam's RunInference runs it.

Bytes must not depend on runners and workers, and a row's last bits depend on what shares its batch. So an element of
RunInference is one shard: which examples it holds, and which of them share a batch, follows from the input alone. Each
batch is computed by one thread, since sums over several threads depend on their number.
"""

import concurrent.futures
import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from bert_tf.core.errors import InputError, reason_of
from pipelines.prediction.description import Description, files_below
from pipelines.prediction.examples import Example
from pipelines.running import files
from pipelines.running.tensorflow import load_tensorflow
from pipelines.running.worker_errors import sent_to_launcher


class Asked(NamedTuple):
    """A shard to answer: its number, its examples in order, and which documents these are.

    Attributes:
      origins: (path, first byte of the part, documents of the part before these, how many), in order.
    """

    shard: int
    examples: list[Example]
    origins: list[tuple[str, int, int, int]]


class Answered(NamedTuple):
    """The same with the outputs of each example, or the reason why it has none."""

    asked: Asked
    answers: list[dict[str, Any] | str]


class SavedModelHandler(ModelHandler[Asked, Answered, "LoadedModel"]):
    """Loads the SavedModel once in each process; see the module.

    Args:
      description: of the model.
      batch_size: examples of a batch.
    """

    def __init__(self, description: Description, batch_size: int):
        super().__init__()
        self._description, self._batch_size = description, batch_size

    def load_model(self) -> "LoadedModel":
        with sent_to_launcher():
            return LoadedModel(self._description)

    def should_skip_batching(self) -> bool:
        return True

    def get_num_bytes(self, batch: Sequence[Asked]) -> int:
        return 0  # only for a metric; the default pickles the examples

    def get_metrics_namespace(self) -> str:
        return "bulk_prediction"

    def run_inference(
        self, batch: Sequence[Asked], model: "LoadedModel", inference_args: dict[str, Any] | None = None
    ) -> Iterable[Answered]:
        return [Answered(asked, model.answers(asked.examples, self._batch_size)) for asked in batch]


class LoadedModel:
    """A SavedModel in memory.

    Args:
      description: of it; a folder on another storage is copied to this machine.

    Raises:
      InputError: TensorFlow cannot load it.
    """

    def __init__(self, description: Description):
        load_tensorflow()
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - registers the tokenizer's ops

        self._tf, self._signatures = tf, description.signatures
        with contextlib.suppress(RuntimeError):  # TensorFlow runs in this process already, as it was configured there
            tf.config.threading.set_intra_op_parallelism_threads(1)
        try:
            with _on_this_machine(description.path) as folder:
                self._model = tf.saved_model.load(folder)
            self._functions = [self._model.signatures[signature.name] for signature in self._signatures]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise InputError(
                f"--model {description.path}: expected what TensorFlow loads. Received: {reason_of(error)}."
            ) from None
        self._threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def answers(self, examples: Sequence[Example], batch_size: int) -> list[dict[str, Any] | str]:
        """The outputs of each example without what fills them up, or the reason why there are none, in order."""
        found: list[dict[str, Any] | str] = [""] * len(examples)
        batches = list(_batches(examples, batch_size))
        for numbers, answers in zip(
            batches, self._threads.map(lambda batch: self._batch([examples[n] for n in batch]), batches), strict=True
        ):
            for number, answer in zip(numbers, answers, strict=True):
                found[number] = answer
        return found

    def _batch(self, examples: Sequence[Example]) -> list[dict[str, Any] | str]:
        try:
            return self._run(examples)
        except (ValueError, self._tf.errors.OpError) as error:
            if len(examples) == 1:
                return [f"the model fails: {reason_of(error)}"]
        # One example must not take the others with it.
        return [answer for example in examples for answer in self._batch([example])]

    def _run(self, examples: Sequence[Example]) -> list[dict[str, Any] | str]:
        number = examples[0].signature
        signature = self._signatures[number]
        columns = {name: [example.inputs[name] for example in examples] for name in signature.fields}
        tensors = {
            name: self._tf.constant(_matrix(values) if name in signature.lists else values, self._tf.string)
            for name, values in columns.items()
        }
        outputs = {name: value.numpy() for name, value in self._functions[number](**tensors).items()}
        ordered = {name: outputs[name] for name in signature.outputs}
        plain = {name: value.tolist() for name, value in ordered.items()}
        rows = []
        for row, example in enumerate(examples):
            reason = _not_finite(ordered, row)
            rows.append(reason or _trimmed({n: x[row] for n, x in plain.items()}, signature.counts, example.inputs))
        return rows


def _batches(examples: Sequence[Example], batch_size: int) -> Iterator[list[int]]:
    """Numbers of examples of one signature and of like length; the same for the same examples."""

    def length(number: int) -> int:
        values = examples[number].inputs.values()
        return sum(len(value) if isinstance(value, str) else sum(map(len, value)) for value in values)

    order = sorted(range(len(examples)), key=lambda number: (examples[number].signature, length(number)))
    begin = 0
    for place in range(1, len(order) + 1):
        is_end = place == len(order) or examples[order[place]].signature != examples[order[begin]].signature
        if is_end or place - begin == batch_size:
            yield order[begin:place]
            begin = place


def _matrix(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Lists of texts as string [rows, most], filled up with ''."""
    found = np.full((len(rows), max(map(len, rows))), "", object)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found


def _not_finite(outputs: Mapping[str, np.ndarray], row: int) -> str:
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values[row]).all():
            return f"the model gives a NaN or infinite number in {name}"
    return ""


def _trimmed(outputs: dict[str, Any], counts: Mapping[str, str], inputs: Mapping[str, str | list[str]]) -> dict:
    found = {}
    for name, value in outputs.items():
        if counter := counts.get(name):
            value = value[: outputs[counter] if counter in outputs else len(inputs[counter])]
        found[name] = _text(value)
    return found


def _text(value: Any) -> Any:
    """Bytes as text, also in lists."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_text(part) for part in value] if isinstance(value, list) else value


@contextlib.contextmanager
def _on_this_machine(path: str) -> Iterator[str]:
    """The folder itself, or a copy of one on another storage for as long as the block runs."""
    if os.path.isdir(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as copy:
        for name in files_below(path):
            target = os.path.join(copy, *name.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(files.read_bytes(files.join(path, *name.split("/"))) or b"")
        yield copy
