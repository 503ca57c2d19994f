"""A loaded SavedModel: named arrays -> named arrays."""

import json
import os

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer
from grpc import StatusCode
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from bert_tf.core.errors import reason_of
from bert_tf.serving.export import warm_up
from bert_tf.serving.export.saved_model import DESCRIPTION
from bert_tf.serving.export.signatures import DEFAULT
from bert_tf.serving.server.errors import RequestError, invalid

Arrays = dict[str, np.ndarray]
_OUTPUTS = {"classify": {"classes", "scores"}, "regress": {"outputs"}}


class Version:
    """One version of a model, loaded and warm.

    Attributes:
      number: the name of its folder.
      signature_defs: {name: SignatureDef}, as the metadata APIs return them.
      description: the content of assets.extra/bert_tf.json; {} for other models.

    Raises:
      OSError, ValueError, tf.errors.OpError: it cannot be loaded, or a warm-up request fails.
    """

    def __init__(self, path: str, number: int = 1):
        self.number = number
        self._model = tf.saved_model.load(path)
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            saved = saved_model_pb2.SavedModel.FromString(file.read())
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

    def specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """{input: its spec} of a signature; "" is serving_default.

        Raises:
          RequestError: the signature does not exist.
        """
        return self._function(signature).structured_input_signature[1]

    def check_method(self, signature: str, method: str) -> None:
        """Raises RequestError for a signature that is not for "classify" or "regress"."""
        outputs = set(self._function(signature).structured_outputs)
        if set(self.specs(signature)) != {"inputs"} or outputs != _OUTPUTS[method]:
            raise invalid(
                f"expected the name of a signature for {method}, such as {method!r}, received {signature or DEFAULT!r}"
            )

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """The outputs of a signature.

        Raises:
          RequestError: the signature does not exist, or the inputs do not fit it.
        """
        specs = self.specs(signature)
        if set(inputs) != set(specs):
            raise invalid(f"expected the inputs {sorted(specs)}, received {sorted(inputs)}")
        fitted = {name: _fitted(name, value, specs[name]) for name, value in inputs.items()}
        try:
            outputs = self._function(signature)(**{name: tf.constant(value) for name, value in fitted.items()})
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise invalid(reason_of(error)) from None
        return {name: value.numpy() for name, value in outputs.items()}

    def _function(self, signature: str):
        name = signature or DEFAULT
        if name not in self._model.signatures:
            names = ", ".join(sorted(self._model.signatures))
            message = f"expected one of the signatures {names}, received {name!r}"
            raise RequestError(StatusCode.FAILED_PRECONDITION, message)
        return self._model.signatures[name]


def _fitted(name: str, given: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """An input in the type of its spec, if the conversion loses nothing."""
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
