"""TF Serving's gRPC services: PredictionService and ModelService."""

import math

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from bert_tf.core.errors import InputError
from bert_tf.serving.export.signatures import DEFAULT
from bert_tf.serving.server import models as models_lib
from bert_tf.serving.server.batching import Runner
from bert_tf.serving.server.models import Models
from bert_tf.serving.server.monitoring import Metrics
from bert_tf.serving.server.request_error import RequestError, invalid
from bert_tf.serving.server.version import Arrays, Version

_MOST_REPEATED = 4096


class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Both services on some models."""

    def __init__(self, models: Models, runner: Runner, metrics: Metrics):
        self._models, self._runner, self._metrics = models, runner, metrics

    # The methods' names are the API's.

    def Predict(self, request, context):  # noqa: N802
        def answer() -> predict_pb2.PredictResponse:
            version = self._version(request.model_spec)
            try:
                inputs = {name: _array(version, request, name) for name in request.inputs}
            except (TypeError, ValueError, IndexError, KeyError) as error:
                raise invalid(f"expected well-formed tensors, received: {error}") from None
            outputs = self._run(version, request.model_spec, inputs, context)
            chosen = list(request.output_filter) or list(outputs)
            if not set(chosen) <= set(outputs):
                raise invalid(f"output_filter: expected some of {sorted(outputs)}, received {sorted(chosen)}")
            response = predict_pb2.PredictResponse(model_spec=self._spec(request.model_spec, version))
            for name in chosen:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

        return self._answer(request, context, answer)

    def Classify(self, request, context):  # noqa: N802
        def answer() -> classification_pb2.ClassificationResponse:
            version, outputs = self._run_examples(request, context, "classify")
            response = classification_pb2.ClassificationResponse(model_spec=self._spec(request.model_spec, version))
            for labels, scores in zip(outputs["classes"], outputs["scores"], strict=True):
                row = response.result.classifications.add()
                for label, score in zip(labels, scores, strict=True):
                    row.classes.add(label=label.decode(), score=float(score))
            return response

        return self._answer(request, context, answer)

    def Regress(self, request, context):  # noqa: N802
        def answer() -> regression_pb2.RegressionResponse:
            version, outputs = self._run_examples(request, context, "regress")
            response = regression_pb2.RegressionResponse(model_spec=self._spec(request.model_spec, version))
            for value in outputs["outputs"].reshape(-1):
                response.result.regressions.add(value=float(value))
            return response

        return self._answer(request, context, answer)

    def GetModelMetadata(self, request, context):  # noqa: N802
        def answer() -> get_model_metadata_pb2.GetModelMetadataResponse:
            version = self._version(request.model_spec)
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("metadata_field: expected signature_def")
            response = get_model_metadata_pb2.GetModelMetadataResponse(
                model_spec=self._spec(request.model_spec, version)
            )
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, value in version.signature_defs.items():
                found.signature_def[name].CopyFrom(value)
            response.metadata["signature_def"].Pack(found)
            return response

        return self._answer(request, context, answer)

    def GetModelStatus(self, request, context):  # noqa: N802
        def answer() -> get_model_status_pb2.GetModelStatusResponse:
            model = self._models.model(request.model_spec.name)
            asked = request.model_spec
            response = get_model_status_pb2.GetModelStatusResponse()
            for number, state, reason in model.states(asked.version.value or None, asked.version_label):
                status = response.model_version_status.add(version=number, state=state)
                status.status.error_code = 2 if reason else 0  # UNKNOWN, OK
                status.status.error_message = reason
            return response

        return self._answer(request, context, answer)

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        def answer() -> model_management_pb2.ReloadConfigResponse:
            if not request.config.HasField("model_config_list"):
                raise invalid("expected a model_config_list, the only kind that HandleReloadConfigRequest knows")
            try:
                self._models.replace(models_lib.of_proto(request.config))
            except InputError as error:
                raise invalid(str(error)) from None
            return model_management_pb2.ReloadConfigResponse()

        with self._metrics.request("", "HandleReloadConfigRequest"):
            try:
                return answer()
            except RequestError as error:
                return context.abort(error.code, str(error))

    def _answer(self, request, context, answer):
        name = type(request).__name__.removesuffix("Request")
        try:
            with self._metrics.request(request.model_spec.name, name):
                return answer()
        except RequestError as error:
            return context.abort(error.code, str(error))

    def _version(self, spec: model_pb2.ModelSpec) -> Version:
        # Some clients send 0 for the newest.
        return self._models.model(spec.name).version(spec.version.value or None, spec.version_label)

    def _spec(self, asked: model_pb2.ModelSpec, version: Version) -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=asked.name, signature_name=asked.signature_name or DEFAULT)
        spec.version.value = version.number
        return spec

    def _run(self, version: Version, spec: model_pb2.ModelSpec, inputs: Arrays, context) -> Arrays:
        return self._runner.run(version, spec.signature_name, inputs, context.time_remaining())

    def _run_examples(self, request, context, kind: str) -> tuple[Version, Arrays]:
        version = self._version(request.model_spec)
        given = request.input
        which = given.WhichOneof("kind")
        examples = getattr(given, which).examples if which else []
        if not examples:
            raise invalid("input: expected examples, received none")
        shared = given.example_list_with_context.context.features.feature if which != "example_list" else {}
        rows = np.empty(len(examples), object)
        for number, example in enumerate(examples):
            whole = tf.train.Example.FromString(example.SerializeToString())
            for name, feature in shared.items():
                if name not in whole.features.feature:
                    whole.features.feature[name].CopyFrom(feature)
            rows[number] = whole.SerializeToString()
        spec = request.model_spec
        version.check_method(spec.signature_name, kind)
        outputs = self._run(version, spec, {"inputs": rows}, context)
        return version, outputs


def _array(version: Version, request: predict_pb2.PredictRequest, name: str) -> np.ndarray:
    """A tensor of a request, whose type must be the signature's and whose values must all be there."""
    proto = request.inputs[name]
    dtype = version.input_type(request.model_spec.signature_name, name)
    if dtype is not None and proto.dtype != dtype.as_datatype_enum:
        raise invalid(f"{name}: expected {dtype.name}, received {tf.as_dtype(proto.dtype).name}")
    count = math.prod(dim.size for dim in proto.tensor_shape.dim)
    given = len(proto.tensor_content) or sum(len(v) for f, v in proto.ListFields() if f.name.endswith("_val"))
    # One value may stand for all; a few bytes must not ask for all the memory there is.
    if count > max(given, _MOST_REPEATED):
        raise invalid(f"{name}: expected {count} values, received {given}")
    return tf.make_ndarray(proto)
