"""TF Serving's gRPC API: Predict, GetModelMetadata and GetModelStatus."""

import contextlib
import math
from collections.abc import Iterator

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from bert_tf.core.errors import reason_of
from bert_tf.serving.export.signatures import DEFAULT
from bert_tf.serving.server.errors import RequestError, invalid
from bert_tf.serving.server.models import Models

_MOST_REPEATED = 4096


class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Both services for some models. Other methods answer UNIMPLEMENTED."""

    def __init__(self, models: Models):
        self._models = models

    # The methods' names are the API's.

    def Predict(self, request, context):  # noqa: N802
        with _errors(context):
            spec = request.model_spec
            version = self._models.version(spec.name, _number(spec))
            specs = version.specs(spec.signature_name)
            inputs = {name: _array(name, proto, specs.get(name)) for name, proto in request.inputs.items()}
            outputs = version.run(spec.signature_name, inputs)
            chosen = list(request.output_filter) or list(outputs)
            if not set(chosen) <= set(outputs):
                raise invalid(f"output_filter: expected some of {sorted(outputs)}, received {sorted(chosen)}")
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.version.value = spec.name, version.number
            response.model_spec.signature_name = spec.signature_name or DEFAULT
            for name in chosen:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        with _errors(context):
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("metadata_field: expected signature_def")
            return self._models.metadata(request.model_spec.name, _number(request.model_spec))

    def GetModelStatus(self, request, context):  # noqa: N802
        with _errors(context):
            return self._models.status(request.model_spec.name, _number(request.model_spec))


@contextlib.contextmanager
def _errors(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        context.abort(error.code, str(error))


def _number(spec: model_pb2.ModelSpec) -> int | None:
    """The version that a request asks for; None for the newest, which some clients write as 0."""
    if spec.version_label:
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value or None


def _array(name: str, proto, spec: tf.TensorSpec | None) -> np.ndarray:
    """A tensor of a request. Its type must be the signature's, and all its values must be there."""
    if spec is not None and proto.dtype != spec.dtype.as_datatype_enum:
        raise invalid(f"{name}: expected {spec.dtype.name}, received {tf.as_dtype(proto.dtype).name}")
    count = math.prod(dim.size for dim in proto.tensor_shape.dim)
    given = len(proto.tensor_content) or sum(len(v) for f, v in proto.ListFields() if f.name.endswith("_val"))
    # One value may stand for all, but a few bytes must not fill the memory.
    if count > max(given, _MOST_REPEATED):
        raise invalid(f"{name}: expected {count} values, received {given}")
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise invalid(f"expected well-formed tensors, received: {reason_of(error)}") from None
