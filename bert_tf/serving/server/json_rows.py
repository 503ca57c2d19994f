"""TF Serving's JSON <-> arrays: https://www.tensorflow.org/tfx/serving/api_rest."""

import base64
import binascii
import json

import numpy as np
import tensorflow as tf

from bert_tf.serving.server.errors import invalid
from bert_tf.serving.server.version import Arrays


def parse(body: bytes) -> dict:
    """The JSON object of a request. Raises RequestError for anything else."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise invalid("expected a JSON object")
    return request


def inputs_of(request: dict, names: list[str]) -> tuple[Arrays, bool]:
    """Named arrays of a predict request, and whether they came by row.

    >>> inputs_of({"instances": ["a", {"b64": "Yg=="}]}, ["text"])
    ({'text': array([b'a', b'b'], dtype=object)}, True)

    Args:
      request: with "instances", a list of rows, or "inputs", columns.
      names: inputs of the signature; a single input may be given without its name.

    Raises:
      RequestError: neither or both, or rows that differ.
    """
    if ("instances" in request) == ("inputs" in request):
        raise invalid('expected a JSON object with either "instances" or "inputs"')
    if "inputs" in request:
        columns = _named(names, request["inputs"])
        return {name: _array(name, values) for name, values in columns.items()}, False
    rows = request["instances"]
    if not isinstance(rows, list) or not rows:
        raise invalid('"instances" must be a list that is not empty')
    rows = [_named(names, row) for row in rows]
    if any(set(row) != set(rows[0]) for row in rows):
        raise invalid("every instance must have the same inputs")
    return {name: _array(name, [row[name] for row in rows]) for name in rows[0]}, True


def _named(names: list[str], value) -> dict:
    if isinstance(value, dict) and set(value) != {"b64"}:
        return value
    if len(names) != 1:
        raise invalid(f"expected the inputs {names} by name")
    return {names[0]: value}


def _array(name: str, values) -> np.ndarray:
    nested = np.array(values, object)
    if any(isinstance(value, list) for value in nested.flat):
        raise invalid(f"{name}: expected lists of one length, received several")
    flat = [_scalar(name, value) for value in nested.flat]
    texts = sum(isinstance(value, bytes) for value in flat)
    if texts and texts < len(flat):
        raise invalid(f"{name}: expected strings or numbers, received both")
    # Not numpy's own strings, which lose NUL characters at their ends.
    dtype = object if texts else np.int64 if all(isinstance(value, int) for value in flat) else np.float64
    array = np.empty(len(flat), dtype)
    try:
        array[:] = flat
    except OverflowError:
        raise invalid(f"{name}: expected numbers of 64 bits") from None
    return array.reshape(nested.shape)


def _scalar(name: str, value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace")  # a lone surrogate has no UTF-8
    if isinstance(value, dict):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise invalid(f'{name}: expected {{"b64": BASE64}}, received: {error}') from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(f"{name}: expected a string or a number, received {json.dumps(value)[:40]}")
    return value


def predictions(outputs: Arrays, by_row: bool) -> dict:
    """The answer to a predict request; a single output is returned without its name."""
    columns = {name: _plain(name, value) for name, value in outputs.items()}
    if not by_row:
        return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    batch_sizes = {value.shape[:1] for value in outputs.values()}
    if len(batch_sizes) > 1 or () in batch_sizes:
        raise invalid('expected outputs of one batch size for "instances"; send "inputs" instead')
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [row[0] if len(columns) == 1 else dict(zip(columns, row, strict=True)) for row in rows]}


def _plain(name: str, value: np.ndarray):
    """Arrays as JSON values; bytes as text, or as base64 if the name of the output ends in _bytes."""
    if value.dtype != object:
        return value.tolist()
    if name.endswith("_bytes"):
        return np.vectorize(lambda b: {"b64": base64.b64encode(b).decode()}, otypes=[object])(value).tolist()
    return np.vectorize(lambda b: b.decode("utf-8", "replace"), otypes=[object])(value).tolist()


def examples_of(request: dict) -> np.ndarray:
    """Serialized tf.Example of a classify or regress request.

    Raises:
      RequestError: no examples, or features that are neither strings nor numbers.
    """
    rows, context = request.get("examples"), request.get("context", {})
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in (*rows, context)):
        raise invalid('expected {"examples": [{feature: value}, ...]}')
    found = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        features = {name: _feature(name, value) for name, value in {**context, **row}.items()}
        found[number] = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return found


def _feature(name: str, value) -> tf.train.Feature:
    values = _array(name, value if isinstance(value, list) else [value])
    if values.ndim > 1:
        raise invalid(f"{name}: expected a value or a list of values, received a list of lists")
    if values.dtype == object:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values.dtype == np.int64:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def results(outputs: Arrays) -> dict:
    """The answer to a request to classify, [[[label, score], ...] a row], or to regress, [number a row]."""
    if "outputs" in outputs:
        return {"results": outputs["outputs"].reshape(-1).tolist()}
    rows = zip(_plain("classes", outputs["classes"]), outputs["scores"].tolist(), strict=True)
    return {"results": [list(map(list, zip(*row, strict=True))) for row in rows]}
