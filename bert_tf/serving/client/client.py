"""Asks a model that TF Serving or the development server serves, over gRPC or REST.

    client = Client("localhost:8500", "labels")
    client.classify(["Compute the softmax of a tensor."])[0].label

REST needs no TensorFlow here, gRPC does, for its messages.
"""

import dataclasses
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from bert_tf.serving.client.transports import Grpc, Rest, ServingError, array_of

_FIRST_PAUSE = 0.1  # seconds before the first new try; doubled each time


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
        transports: dict[str, type[Grpc] | type[Rest]] = {"grpc": Grpc, "rest": Rest}
        self._transport = transports[api](address, model, version)

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
        arrays = {name: array_of(values) for name, values in inputs.items()}
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
                fields = {name: told[name][row] for name in ("start", "end", "probability", "no_answer_score")}
                found.append(Answer(text=told["answer"][row], n_best=list(n_best)[:count], **fields))
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


def _texts(values: np.ndarray) -> list:
    """Bytes as text, in nested lists."""
    return np.vectorize(lambda value: value.decode("utf-8", "replace"), otypes=[object])(values).tolist()


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
