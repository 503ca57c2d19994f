"""Asks a model that TF Serving or the development server serves, over gRPC or REST.

    client = Client("localhost:8500", "labels")
    client.classify(["Compute the softmax of a tensor."])[0].label

REST needs no TensorFlow here, gRPC does, for its messages.
"""

import base64
import dataclasses
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import requests

_FIRST_PAUSE = 0.1  # seconds before the first new try; doubled each time


class ServingError(Exception):
    """A request that was not answered.

    Attributes:
      code: gRPC's name for it, such as INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, DEADLINE_EXCEEDED.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclasses.dataclass(frozen=True)
class Classified:
    """label: the likeliest one; None of several labels at once. probabilities: {label: probability}."""

    label: str | None
    probabilities: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of a text. begin, end: in UTF-8 bytes of it. kind: its tag or entity type. probability: of a tag."""

    text: str
    kind: str
    begin: int
    end: int
    probability: float | None = None


@dataclasses.dataclass(frozen=True)
class Tagged:
    """entities is empty for tags that name none."""

    words: list[Span]
    entities: list[Span]


@dataclasses.dataclass(frozen=True)
class Answer:
    """text: "" for no answer. start, end: characters of the context. n_best: other answers with probabilities."""

    text: str
    start: int
    end: int
    probability: float
    no_answer_score: float
    n_best: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Filled:
    """candidates: for each mask the likeliest tokens with their probabilities."""

    candidates: list[list[tuple[str, float]]]


class Client:
    """Of one model. May be used by several threads.

    Args:
      address: HOST:PORT of the API.
      model: its name.
      api: which API listens there.
      version: a version's number or, as a string, its label; None for the newest.
      timeout: seconds for a request, all tries together.
      retries: further tries where the server is not available.
      batch_size: texts of a request.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        api: Literal["grpc", "rest"] = "grpc",
        version: int | str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        batch_size: int = 32,
    ):
        self._timeout, self._retries, self._batch_size = timeout, retries, batch_size
        transport = {"grpc": _Grpc, "rest": _Rest}[api]
        self._transport = transport(address, model, version)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def predict(self, inputs: Mapping[str, Sequence], signature: str = "serving_default") -> dict[str, np.ndarray]:
        """The outputs of a signature, {name: [batch, ...]}; strings as bytes.

        Args:
          inputs: {name: [batch, ...]}; strings may be str or bytes.
          signature: its name.

        Raises:
          ServingError: no answer in time, or none at all.
        """
        arrays = {name: _array(values) for name, values in inputs.items()}
        end, pause = time.monotonic() + self._timeout, _FIRST_PAUSE
        for left in range(self._retries, -1, -1):
            try:
                return self._transport.predict(arrays, signature, max(0.001, end - time.monotonic()))
            except ServingError as error:
                # Many clients that lost one server must not all come back at once.
                wait = pause * random.uniform(0.5, 1.5)
                if error.code != "UNAVAILABLE" or not left or time.monotonic() + wait > end:
                    raise
                time.sleep(wait)
                pause *= 2
        raise AssertionError  # the last try returns or raises

    def classify(self, texts: Sequence[str], second_texts: Sequence[str] | None = None) -> list[Classified]:
        """Labels of texts or pairs."""
        found = []
        for outputs in self._batches(texts, second_texts):
            labels = _texts(outputs["labels"])
            best = _texts(outputs["label"]) if "label" in outputs else [None] * len(labels)
            for label, names, chances in zip(best, labels, outputs["probabilities"].tolist(), strict=True):
                found.append(Classified(label, dict(zip(names, chances, strict=True))))
        return found

    def score(self, texts: Sequence[str], second_texts: Sequence[str] | None = None) -> np.ndarray:
        """What a regression gives, float32 [texts]."""
        return _joined([outputs["value"] for outputs in self._batches(texts, second_texts)])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32 [texts, width]."""
        return _joined([outputs["embedding"] for outputs in self._batches(texts)])

    def tag(self, texts: Sequence[str]) -> list[Tagged]:
        """Words and entities of texts."""
        found = []
        for outputs in self._batches(texts):
            told = {name: _texts(value) if value.dtype == object else value.tolist() for name, value in outputs.items()}
            for row in range(len(outputs["word_count"])):
                names = ("words", "tags", "begins", "ends", "probabilities")
                words = zip(*(told[name][row] for name in names), strict=True)
                names = ("entities", "entity_types", "entity_begins", "entity_ends")
                entities = zip(*(told.get(name, [()] * (row + 1))[row] for name in names), strict=True)
                found.append(
                    Tagged(
                        [Span(*word) for word in words][: told["word_count"][row]],
                        [Span(*entity) for entity in entities][: told.get("entity_count", [0] * (row + 1))[row]],
                    )
                )
        return found

    def answer(self, questions: Sequence[str], contexts: Sequence[str]) -> list[Answer]:
        """The answers to questions, each in its context."""
        found = []
        for part in self._chunks({"question": questions, "context": contexts}):
            outputs = self.predict(part)
            told = {name: _texts(value) if value.dtype == object else value.tolist() for name, value in outputs.items()}
            for row, count in enumerate(told["n_best_count"]):
                n_best = zip(told["n_best_answers"][row], told["n_best_probabilities"][row], strict=True)
                names = ("answer", "start", "end", "probability", "no_answer_score")
                found.append(Answer(*(told[name][row] for name in names), list(n_best)[:count]))
        return found

    def fill_mask(self, texts: Sequence[str]) -> list[Filled]:
        """The likeliest tokens for each [MASK] of texts."""
        found = []
        for outputs in self._batches(texts):
            tokens, scores = _texts(outputs["tokens"]), outputs["scores"].tolist()
            for row, count in enumerate(outputs["mask_count"].tolist()):
                masks = zip(tokens[row][:count], scores[row][:count], strict=True)
                found.append(Filled([list(zip(*mask, strict=True)) for mask in masks]))
        return found

    def choose(self, texts: Sequence[str], choices: Sequence[Sequence[str]], **more: Sequence[str]) -> list[int]:
        """The number of the best choice for each text; `more` may hold stem. Fewer choices are filled up with ""."""
        most = max(map(len, choices), default=0)
        padded = [[*row, *[""] * (most - len(row))] for row in choices]
        parts = [self.predict(part)["label"] for part in self._chunks({"text": texts, "choices": padded, **more})]
        return _joined(parts).tolist()

    def _batches(self, texts: Sequence[str], second_texts: Sequence[str] | None = None) -> Iterator[dict]:
        columns = {"text": texts} | ({} if second_texts is None else {"second_text": second_texts})
        for part in self._chunks(columns):
            yield self.predict(part)

    def _chunks(self, columns: dict[str, Sequence]) -> Iterator[dict[str, Sequence]]:
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns must be of one length. Received: {sorted(lengths)}.")
        for begin in range(0, lengths.pop(), self._batch_size):
            yield {name: column[begin : begin + self._batch_size] for name, column in columns.items()}


def _array(values: Sequence) -> np.ndarray:
    """Not numpy's own strings, which lose NUL characters at their ends."""
    array = np.asarray(values, object)
    if all(isinstance(value, (str, bytes)) for value in array.flat):
        flat = [value.encode("utf-8", "replace") if isinstance(value, str) else value for value in array.flat]
        encoded = np.empty(len(flat), object)
        encoded[:] = flat
        return encoded.reshape(array.shape)
    return np.asarray(values)


def _texts(values: np.ndarray) -> list:
    """Bytes as text, in nested lists."""
    return np.vectorize(lambda value: value.decode("utf-8", "replace"), otypes=[object])(values).tolist()


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Grpc:
    def __init__(self, address: str, model: str, version: int | str | None):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model, self._version = model, version

    def predict(self, inputs: dict[str, np.ndarray], signature: str, timeout: float) -> dict[str, np.ndarray]:
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
            response = self._stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from None
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def close(self) -> None:
        self._channel.close()


class _Rest:
    _CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED"} | {
        500: "INTERNAL",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }

    def __init__(self, address: str, model: str, version: int | str | None):
        kind = "labels" if isinstance(version, str) else "versions"
        chosen = "" if version is None else f"/{kind}/{version}"
        self._url = f"http://{address}/v1/models/{model}{chosen}:predict"
        self._session = requests.Session()

    def predict(self, inputs: dict[str, np.ndarray], signature: str, timeout: float) -> dict[str, np.ndarray]:
        body = {"signature_name": signature, "inputs": {name: _json(values) for name, values in inputs.items()}}
        try:
            response = self._session.post(self._url, json=body, timeout=timeout)
            answer = response.json()
        except requests.Timeout as error:
            raise ServingError("DEADLINE_EXCEEDED", str(error)) from None
        except requests.ConnectionError as error:
            raise ServingError("UNAVAILABLE", str(error)) from None
        except ValueError:
            raise ServingError("UNKNOWN", f"HTTP {response.status_code} without JSON") from None
        if not response.ok:
            code = self._CODES.get(response.status_code, "UNKNOWN")
            raise ServingError(code, answer.get("error", f"HTTP {response.status_code}"))
        outputs = answer["outputs"]
        if not isinstance(outputs, dict):
            # TF Serving leaves the name of a single output away.
            outputs = {self._only_output(signature, timeout): outputs}
        return {name: _array_of_json(values) for name, values in outputs.items()}

    def _only_output(self, signature: str, timeout: float) -> str:
        url = self._url.removesuffix(":predict") + "/metadata"
        told = self._session.get(url, timeout=timeout).json()["metadata"]["signature_def"]["signature_def"]
        return next(iter(told[signature]["outputs"]))

    def close(self) -> None:
        self._session.close()


def _json(values: np.ndarray):
    if values.dtype != object:
        return values.tolist()

    def text(value: bytes):

        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}

    return np.vectorize(text, otypes=[object])(values).tolist()


def _array_of_json(values) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind == "U":
        return _array(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
