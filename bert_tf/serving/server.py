"""A local development server that speaks TF Serving's gRPC and REST APIs. For production run TF Serving itself."""

import concurrent.futures
import contextlib
import http.server
import json
import os
import threading

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from bert_tf.errors import InputError
from bert_tf.serving.saved_model import versions

_MAX_REQUEST_BYTES = 16 * 1024 * 1024


class RequestError(Exception):
    """A request that cannot be answered; `code` is the HTTP status."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class ServedModel:
    """The newest version under a base path.

    Raises:
      InputError: there is no version.
    """

    def __init__(self, name: str, base_path: str):
        found = versions(base_path)
        if not found:
            raise InputError(
                f"--model_base_path {base_path}: expected numbered versions as bert_tf.export writes them. "
                "Received none."
            )
        self.name, self.version = name, found[-1]
        path = os.path.join(base_path, str(self.version))
        try:
            self._model = tf.saved_model.load(path)
        except (OSError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"--model_base_path {path}: expected a SavedModel. Received: {reason}.") from None

    def predict(self, model: str, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on named arrays.

        Raises:
          RequestError: an unknown model or signature, or inputs that do not fit it.
        """
        self.check(model)
        function = self._function(signature)
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise RequestError(400, f"expected the inputs {sorted(specs)}, received {sorted(inputs)}")
        try:
            tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
            for name, tensor in tensors.items():
                if not specs[name].shape.is_compatible_with(tensor.shape):
                    raise RequestError(400, f"{name}: expected shape {specs[name].shape}, received {tensor.shape}")
            return {name: value.numpy() for name, value in function(**tensors).items()}
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise RequestError(400, str(error).splitlines()[0]) from None

    def check(self, model: str, version: int = 0) -> None:
        """Raises RequestError unless this is the model, and the version if one is asked for."""
        if model != self.name or version not in (0, self.version):
            asked = f"Specific({model}, {version})" if version else f"Latest({model})"
            raise RequestError(404, f"Servable not found for request: {asked}")

    def input_names(self, signature: str) -> list[str]:
        return sorted(self._function(signature).structured_input_signature[1])

    def _function(self, signature: str):
        name = signature or "serving_default"
        if not isinstance(name, str) or name not in self._model.signatures:
            raise RequestError(404, f"model {self.name} has no signature {name!r}")
        return self._model.signatures[name]


class _Grpc(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, model: ServedModel):
        self._model = model

    def Predict(self, request, context):  # noqa: N802 - the API's name
        try:
            self._model.check(request.model_spec.name, request.model_spec.version.value)
            try:
                inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            except (TypeError, ValueError, IndexError) as error:
                raise RequestError(400, f"expected well-formed tensors, received: {error}") from None
            outputs = self._model.predict(request.model_spec.name, request.model_spec.signature_name, inputs)
        except RequestError as error:
            _abort(context, error)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = self._model.version
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelStatus(self, request, context):  # noqa: N802 - the API's name
        try:
            self._model.check(request.model_spec.name)
        except RequestError as error:
            _abort(context, error)
        response = get_model_status_pb2.GetModelStatusResponse()
        status = response.model_version_status.add(version=self._model.version)
        status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return response


def _abort(context, error: RequestError) -> None:
    codes = {404: grpc.StatusCode.NOT_FOUND}
    context.abort(codes.get(error.code, grpc.StatusCode.INVALID_ARGUMENT), str(error))


def _rest_handler(model: ServedModel) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802 - the library's name
            self._answer(lambda: _status(model, self.path))

        def do_POST(self):  # noqa: N802 - the library's name
            self._answer(lambda: _rest_predict(model, self.path, self._body()))

        def _body(self) -> bytes:
            given = self.headers.get("Content-Length", "0")
            length = int(given) if given.isdecimal() else -1
            if not 0 <= length <= _MAX_REQUEST_BYTES:
                self.close_connection = True
                code = 413 if length > 0 else 400
                raise RequestError(code, f"expected a body of at most {_MAX_REQUEST_BYTES} bytes, received {given}")
            return self.rfile.read(length)

        def _answer(self, make) -> None:
            try:
                code, body = 200, make()
            except RequestError as error:
                code, body = error.code, {"error": str(error)}
            except Exception as error:  # a request must never take the server's connection down
                code, body = 500, {"error": f"{type(error).__name__}: {error}"}
            data = json.dumps(body, ensure_ascii=False).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            with contextlib.suppress(ConnectionError):  # the client may have left
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler


def _status(model: ServedModel, path: str) -> dict:
    model.check(path.removeprefix("/v1/models/"))
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(model.version), "state": "AVAILABLE", "status": status}]}


def _rest_predict(model: ServedModel, path: str, body: bytes) -> dict:
    """TF Serving's JSON: rows ("instances") are answered as "predictions", columns ("inputs") as "outputs"."""
    name, _, verb = path.removeprefix("/v1/models/").partition(":")
    model.check(name)
    if verb != "predict":
        raise RequestError(404, f"expected /v1/models/{model.name}:predict, received {path}")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"JSON Parse error: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise RequestError(400, 'expected a JSON object with either "instances" or "inputs"')
    signature = request.get("signature_name", "serving_default")
    names = model.input_names(signature)
    by_row = "instances" in request
    if by_row:
        rows = request["instances"]
        if not isinstance(rows, list) or not rows:
            raise RequestError(400, '"instances" must be a list that is not empty')
        rows = [row if isinstance(row, dict) else {names[0]: row} for row in rows]
        if any(set(row) != set(rows[0]) for row in rows):
            raise RequestError(400, "every instance must have the same inputs")
        inputs = {key: [row[key] for row in rows] for key in rows[0]}
    else:
        columns = request["inputs"]
        inputs = columns if isinstance(columns, dict) else {names[0]: columns}
    outputs = model.predict(name, signature, inputs)
    outputs = {key: _plain(value) for key, value in outputs.items()}
    if not by_row:
        return {"outputs": next(iter(outputs.values())) if len(outputs) == 1 else outputs}
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]}


def _plain(value: np.ndarray):
    """Arrays as JSON values; bytes as text, which is what TF Serving does with outputs not named *_bytes."""
    if value.dtype == object:
        value = np.vectorize(lambda b: b.decode("utf-8", "replace"), otypes=[object])(value)
    return value.tolist()


class Server:
    """Both APIs on loopback ports; 0 chooses a free one. Use as a context manager."""

    def __init__(self, model: ServedModel, *, port: int, rest_api_port: int):
        # Without the option a second server would silently share the port with the first.
        options = [("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8), options=options)
        servicer = _Grpc(model)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, self._grpc)
        try:
            self.port = self._grpc.add_insecure_port(f"localhost:{port}")
            self._rest = http.server.ThreadingHTTPServer(("localhost", rest_api_port), _rest_handler(model))
        except (OSError, OverflowError, RuntimeError) as error:
            raise InputError(
                f"--port {port}, --rest_api_port {rest_api_port}: expected free ports. Received: {error}."
            ) from None
        self.rest_api_port = self._rest.server_address[1]

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._rest.shutdown()
        self._rest.server_close()
        self._grpc.stop(grace=5).wait()

    def wait(self) -> None:
        """Until the process is interrupted."""
        self._grpc.wait_for_termination()
