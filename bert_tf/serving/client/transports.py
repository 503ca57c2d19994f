"""Transports of the client: gRPC or REST."""

import base64
import json
from collections.abc import Sequence

import numpy as np
import requests
import urllib3

_FIRST_PAUSE = 0.2  # seconds before the second retry over REST, and the first one over gRPC; doubled each time
_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED"}
_CODES |= {500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class ServingError(Exception):
    """A request that failed.

    Attributes:
      code: gRPC's name for it, such as INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, DEADLINE_EXCEEDED.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


def array_of(values: Sequence) -> np.ndarray:
    """Strings as bytes, integers as int32, other numbers as float32: the types that signatures take."""
    first = values
    while isinstance(first, (list, tuple, np.ndarray)) and len(first):
        first = first[0]
    if not isinstance(first, (str, bytes)):
        array = np.asarray(values)
        narrow = {"i": np.int32, "f": np.float32}.get(array.dtype.kind)
        fits = narrow is np.float32 or (narrow is np.int32 and (array == array.astype(np.int32)).all())
        return array.astype(narrow) if fits else array
    # Not numpy's own strings, which lose NUL characters at their ends and are all as long as the longest.
    array = np.asarray(values, object)
    encoded = np.empty(array.size, object)
    encoded[:] = [value.encode("utf-8", "replace") if isinstance(value, str) else value for value in array.flat]
    return encoded.reshape(array.shape)


class Grpc:
    def __init__(self, address: str, model: str, version: int | str | None, timeout: float, retries: int):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        method: dict = {"name": [{}], "timeout": f"{timeout:.3f}s"}
        if retries:
            method["retryPolicy"] = {
                "maxAttempts": retries + 1,
                "initialBackoff": f"{_FIRST_PAUSE}s",
                "maxBackoff": f"{_FIRST_PAUSE * 2**retries}s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", json.dumps({"methodConfig": [method]})),
            # By default the channel waits a second before it connects again, longer than the retries.
            *((f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("initial", "min", "max")),
        ]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model, self._version = model, version

    def predict(self, inputs: dict[str, np.ndarray], signature: str) -> dict[str, np.ndarray]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if isinstance(self._version, str):
            request.model_spec.version_label = self._version
        elif self._version is not None:
            request.model_spec.version.value = self._version
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        try:
            response = self._stub.Predict(request)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from None
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def close(self) -> None:
        self._channel.close()


class Rest:
    def __init__(self, address: str, model: str, version: int | str | None, timeout: float, retries: int):
        kind = "labels" if isinstance(version, str) else "versions"
        self._url = f"http://{address}/v1/models/{model}" + ("" if version is None else f"/{kind}/{version}")
        self._timeout = timeout
        self._session = requests.Session()
        retry = urllib3.Retry(
            retries,
            read=False,  # a request that timed out is not sent again
            allowed_methods=None,  # POST as well
            status_forcelist=[503],
            raise_on_status=False,
            backoff_factor=_FIRST_PAUSE,
            backoff_jitter=_FIRST_PAUSE,  # clients that lost one server must not all come back at once
        )
        self._session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        self._only_outputs: dict[str, str] = {}

    def predict(self, inputs: dict[str, np.ndarray], signature: str) -> dict[str, np.ndarray]:
        body = {"signature_name": signature, "inputs": {name: _json(values) for name, values in inputs.items()}}
        outputs = self._request("POST", ":predict", body)["outputs"]
        if not isinstance(outputs, dict):
            # TF Serving omits the name of a single output.
            if signature not in self._only_outputs:
                metadata = self._request("GET", "/metadata")["metadata"]["signature_def"]["signature_def"]
                self._only_outputs[signature] = next(iter(metadata[signature]["outputs"]))
            outputs = {self._only_outputs[signature]: outputs}
        return {name: array_of(values) for name, values in outputs.items()}

    def _request(self, method: str, path: str, body: dict | None = None) -> dict:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
            answer = response.json()
        except requests.Timeout as error:
            raise ServingError("DEADLINE_EXCEEDED", str(error)) from None
        except requests.exceptions.JSONDecodeError:
            raise ServingError("UNKNOWN", f"HTTP {response.status_code} without JSON") from None
        except requests.RequestException as error:  # no connection, or one that broke in the middle of an answer
            raise ServingError("UNAVAILABLE", str(error)) from None
        if not response.ok:
            code = _CODES.get(response.status_code, "UNKNOWN")
            raise ServingError(code, answer.get("error", f"HTTP {response.status_code}"))
        return answer

    def close(self) -> None:
        self._session.close()


def _json(values: np.ndarray):
    def text(value: bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}

    return values.tolist() if values.dtype != object else np.vectorize(text, otypes=[object])(values).tolist()
