"""Requests that a server runs through a model before the first user's, so that that user need not wait.

TF Serving reads them from assets.extra/tf_serving_warmup_requests, a TFRecord file of PredictionLog.
"""

import os

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from bert_tf.serving.export.signatures import TOKENS, Signature
from bert_tf.tasks.task import Task

PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")
_SHORT = "The quick brown fox jumps over the lazy dog."
_WORDS = (
    "A model that reads a long text from its first word to its last one takes more time and memory than for a line. "
)


def requests(task: Task, made: dict[str, Signature]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(signature, inputs) for every signature: one short text, and a few as long as the model reads."""
    long = _WORDS * (task.data.max_seq_length // 20 + 1)
    found = []
    for name, signature in made.items():
        for texts in ([_SHORT], [long, _SHORT, "", long]):
            if name == TOKENS:
                columns = {key: _ones(len(texts), spec, key) for key, spec in _specs(signature).items()}
            else:
                is_plain = signature.method == "predict"
                given = list(_specs(signature) if is_plain else task.inputs())
                columns = task.request([task.sample(text) for text in texts], given)
                columns = columns if is_plain else {"inputs": _serialized(columns)}
            found.append((name, columns))
    return found


def _specs(signature: Signature) -> dict[str, tf.TensorSpec]:
    return {spec.name: spec for spec in signature.function.input_signature}


def _ones(rows: int, spec: tf.TensorSpec, name: str) -> np.ndarray:
    shape = [rows, *(2 if size is None else size for size in spec.shape[1:])]
    return np.full(shape, 0 if name == "input_type_ids" else 1, np.int32)


def _serialized(columns: dict[str, np.ndarray]) -> np.ndarray:
    rows = zip(*columns.values(), strict=True)
    return np.array([_example(dict(zip(columns, row, strict=True))).SerializeToString() for row in rows], object)


def _example(texts: dict[str, str]) -> tf.train.Example:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])) for name, text in texts.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def write(path: str, model_name: str, made: dict[str, Signature], found: list[tuple[str, dict]]) -> None:
    """Writes requests as records into the version folder `path`."""
    os.makedirs(os.path.join(path, os.path.dirname(PATH)), exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(path, PATH)) as writer:
        for name, inputs in found:
            writer.write(_log(model_name, name, made[name].method, inputs).SerializeToString())


def _log(model_name: str, name: str, method: str, inputs: dict[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    if method == "predict":
        request = log.predict_log.request
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    else:
        request = getattr(log, f"{method}_log").request
        examples = [tf.train.Example.FromString(example) for example in inputs["inputs"]]
        request.input.CopyFrom(input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples)))
    request.model_spec.name = model_name
    request.model_spec.signature_name = name
    return log


def read(path: str) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(signature, inputs) of the records in the version folder `path`."""
    found = []
    for record in tf.data.TFRecordDataset(os.path.join(path, PATH)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "predict_log":
            inputs = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        else:
            examples = request.input.example_list.examples
            inputs = {"inputs": np.array([example.SerializeToString() for example in examples], object)}
        found.append((request.model_spec.signature_name, inputs))
    return found
