"""A loaded SavedModel: named arrays -> named arrays."""

import json
import os

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from bert_tf.serving.export import warm_up
from bert_tf.serving.export.saved_model import DESCRIPTION
from bert_tf.serving.export.signatures import DEFAULT
from bert_tf.serving.server.request_error import invalid, no_signature

Arrays = dict[str, np.ndarray]


class Version:
    """One version of a model, loaded and warm.

    Attributes:
      number: its folder's name.
      signature_defs: {name: SignatureDef}, as clients ask for them.
      content: what its folder held when it was read; see content_of.
      description: of assets.extra/bert_tf.json; {} in models of others.

    Raises:
      OSError, ValueError, tf.errors.OpError: it cannot be loaded, or a warm-up request fails.
    """

    def __init__(self, path: str, number: int = 1):
        self.number, self.content = number, content_of(path)
        self._model = tf.saved_model.load(path)
        saved = saved_model_pb2.SavedModel()
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            saved.ParseFromString(file.read())
        self.signature_defs: dict[str, meta_graph_pb2.SignatureDef] = {
            name: value for name, value in saved.meta_graphs[0].signature_def.items() if not name.startswith("__")
        }
        self.description = {}
        if os.path.exists(os.path.join(path, DESCRIPTION)):
            with open(os.path.join(path, DESCRIPTION), encoding="utf-8") as file:
                self.description = json.load(file)
        if os.path.exists(os.path.join(path, warm_up.PATH)):
            for name, inputs in warm_up.read(path):
                self._function(name)(**{key: tf.constant(value) for key, value in inputs.items()})

    def input_names(self, signature: str) -> list[str]:
        """The inputs of a signature, sorted."""
        return sorted(self._specs(signature))

    def input_type(self, signature: str, name: str) -> tf.DType | None:
        """The type of an input; None where the signature has no such input."""
        spec = self._specs(signature).get(name)
        return None if spec is None else spec.dtype

    def check_method(self, signature: str, method: str) -> None:
        """Refuses a signature that is not for "classify" or "regress".

        As in TF Serving, an empty name is serving_default, which is seldom for either.
        """
        specs, outputs = self._specs(signature), self._function(signature).structured_outputs
        expected = {"classify": {"classes", "scores"}, "regress": {"outputs"}}[method]
        if set(specs) != {"inputs"} or set(outputs) != expected:
            raise invalid(
                f"expected the name of a signature for {method}, such as {method!r}, received {signature or DEFAULT!r}"
            )

    def fitting(self, signature: str, inputs: Arrays) -> Arrays:
        """Inputs in the types of a signature.

        Raises:
          RequestError: no such signature, or inputs that do not fit it.
        """
        specs = self._specs(signature)
        if set(inputs) != set(specs):
            raise invalid(f"expected the inputs {sorted(specs)}, received {sorted(inputs)}")
        fitted = {}
        for name, value in inputs.items():
            fitted[name] = _fitting(name, np.asarray(value), specs[name])
        counts = {len(value) for value in fitted.values() if value.ndim}
        if len(counts) > 1:
            raise invalid(f"expected inputs of one batch size, received {sorted(counts)}")
        return fitted

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """The outputs for inputs that fit.

        Raises:
          RequestError: the graph refuses them.
        """
        try:
            outputs = self._function(signature)(**{name: tf.constant(value) for name, value in inputs.items()})
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise invalid((str(error) or type(error).__name__).splitlines()[0]) from None
        return {name: value.numpy() for name, value in outputs.items()}

    def _specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        return self._function(signature).structured_input_signature[1]

    def _function(self, signature: str):
        name = signature or DEFAULT
        if not isinstance(name, str) or name not in self._model.signatures:
            names = ", ".join(sorted(self._model.signatures))
            raise no_signature(f"expected one of the signatures {names}, received {name!r}")
        return self._model.signatures[name]


def content_of(path: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's files."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:  # it was renamed meanwhile
                continue
            found.append((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
    return sorted(found)


def _fitting(name: str, given: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """An input in the type of a signature, if nothing is lost by it."""
    is_text = given.dtype.kind in "OSU"
    if is_text != (spec.dtype == tf.string) or (given.dtype.kind == "f" and spec.dtype.is_integer):
        raise invalid(f"{name}: expected {spec.dtype.name}, received {'string' if is_text else given.dtype}")
    if not spec.shape.is_compatible_with(given.shape):
        raise invalid(f"{name}: expected shape {spec.shape}, received {given.shape}")
    if is_text:
        return given
    found = given.astype(spec.dtype.as_numpy_dtype)
    if spec.dtype.is_integer and (found != given).any():
        raise invalid(f"{name}: expected {spec.dtype.name}, received {int(given[found != given].flat[0])}")
    return found
