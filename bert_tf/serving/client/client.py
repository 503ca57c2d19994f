"""A client for models that TF Serving or the development server serves, over gRPC or REST.

    client = Client("localhost:8500", "labels")
    client.classify(["Compute the softmax of a tensor."])[0].label

gRPC needs TensorFlow in the client's process, for its messages; REST does not.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from bert_tf.serving.client.transports import Grpc, Rest, array_of
from bert_tf.serving.client.transports import ServingError as ServingError  # for callers


@dataclasses.dataclass(frozen=True)
class Classified:
    """label: the likeliest one; None for multi_label. probabilities: {label: probability}."""

    label: str | None
    probabilities: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of a text.

    kind: its tag or entity type. begin, end: UTF-8 bytes of the text, or numbers of words where words were sent.
    probability: of a tag.
    """

    text: str
    kind: str
    begin: int
    end: int
    probability: float | None = None


@dataclasses.dataclass(frozen=True)
class Tagged:
    """entities is empty for tags that name no entities."""

    words: list[Span]
    entities: list[Span]


@dataclasses.dataclass(frozen=True)
class Answer:
    """text: "" for no answer. start, end: characters of the context. n_best: (answer, probability)."""

    text: str
    start: int
    end: int
    probability: float
    no_answer_score: float
    n_best: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Filled:
    """candidates: for each mask the likeliest (token, probability)."""

    candidates: list[list[tuple[str, float]]]


class Client:
    """A client of one model. Several threads may share it.

    Args:
      address: HOST:PORT of the API.
      model: its name.
      api: the API at this address.
      version: a version's number or, as a string, its label (TF Serving only); None for the newest.
      timeout: seconds for a request, over gRPC all attempts together, over REST each attempt.
      retries: further attempts while the server is unavailable, at most 4 (gRPC's own limit).
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
        if not 0 <= retries <= 4:
            raise ValueError(f"retries must be 0 to 4. Received: {retries}.")
        self._batch_size = batch_size
        transports: dict[str, type[Grpc] | type[Rest]] = {"grpc": Grpc, "rest": Rest}
        self._transport = transports[api](address, model, version, timeout, retries)

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
          ServingError: the server refused the request, or did not answer in time.
        """
        return self._transport.predict({name: array_of(values) for name, values in inputs.items()}, signature)

    def classify(self, texts: Sequence[str], second_texts: Sequence[str] | None = None) -> list[Classified]:
        """Labels of texts or pairs."""
        return [
            Classified(row.get("label"), dict(zip(row["labels"], row["probabilities"], strict=True)))
            for row in self._rows(text=texts, second_text=second_texts)
        ]

    def score(self, texts: Sequence[str], second_texts: Sequence[str] | None = None) -> np.ndarray:
        """Values of a regression, float32 [texts]."""
        return np.array([row["value"] for row in self._rows(text=texts, second_text=second_texts)], np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, float32 [texts, width]."""
        return np.array([row["embedding"] for row in self._rows(text=texts)], np.float32)

    def tag(self, texts: Sequence[str]) -> list[Tagged]:
        """Words and entities of texts."""
        words = ("words", "tags", "begins", "ends", "probabilities")
        entities = ("entities", "entity_types", "entity_begins", "entity_ends")

        def spans(row: dict, names: tuple[str, ...], count: int) -> list[Span]:
            return [Span(*fields) for fields in itertools.islice(zip(*(row[n] for n in names), strict=True), count)]

        return [
            Tagged(
                spans(row, words, row["word_count"]),
                spans(row, entities, row["entity_count"]) if "entity_count" in row else [],
            )
            for row in self._rows(text=texts)
        ]

    def tag_words(self, texts: Sequence[Sequence[str]], separator: str = " ") -> list[Tagged]:
        """The same for texts that are words already, one answer for each word.

        An entity's text is its words joined with `separator`.
        """
        most, found = max([1, *map(len, texts)]), []
        padded = [[*words, *[""] * (most - len(words))] for words in texts]
        for words, row in zip(texts, self._rows("tag_words", words=padded), strict=True):
            fields = zip(words, row["tags"], row["probabilities"], strict=False)
            spans = [Span(word, tag, n, n + 1, p) for n, (word, tag, p) in enumerate(fields) if n < row["word_count"]]
            names = ("entity_types", "entity_first_words", "entity_last_words")
            bounds = zip(*(row[name] for name in names), strict=True) if "entity_count" in row else ()
            entities = [
                Span(separator.join(words[first : last + 1]), kind, first, last + 1)
                for kind, first, last in itertools.islice(bounds, row.get("entity_count", 0))
            ]
            found.append(Tagged(spans, entities))
        return found

    def answer(self, questions: Sequence[str], contexts: Sequence[str]) -> list[Answer]:
        """The answers to questions, each in its context."""
        found = []
        for row in self._rows(question=questions, context=contexts):
            n_best = list(zip(row["n_best_answers"], row["n_best_probabilities"], strict=True))[: row["n_best_count"]]
            fields = {name: row[name] for name in ("start", "end", "probability", "no_answer_score")}
            found.append(Answer(text=row["answer"], n_best=n_best, **fields))
        return found

    def fill_mask(self, texts: Sequence[str]) -> list[Filled]:
        """The likeliest tokens for each [MASK] of texts."""
        found = []
        for row in self._rows(text=texts):
            masks = list(zip(row["tokens"], row["scores"], strict=True))[: row["mask_count"]]
            found.append(Filled([list(zip(*mask, strict=True)) for mask in masks]))
        return found

    def choose(self, texts: Sequence[str], choices: Sequence[Sequence[str]], **more: Sequence[str]) -> list[int]:
        """The index of the best choice for each text; `more` may hold stem. Fewer choices are padded with ""."""
        most = max(map(len, choices), default=0)
        padded = [[*row, *[""] * (most - len(row))] for row in choices]
        return [row["label"] for row in self._rows(text=texts, choices=padded, **more)]

    def _rows(self, signature: str = "serving_default", /, **columns: Sequence | None) -> Iterator[dict]:
        """The outputs for each row of some columns: {name: plain values, bytes as text}."""
        given = {name: column for name, column in columns.items() if column is not None}
        lengths = {len(column) for column in given.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns must be of one length. Received: {sorted(lengths)}.")
        for begin in range(0, lengths.pop(), self._batch_size):
            batch = {name: column[begin : begin + self._batch_size] for name, column in given.items()}
            outputs = self.predict(batch, signature)
            values = [_plain(value) for value in outputs.values()]
            yield from (dict(zip(outputs, row, strict=True)) for row in zip(*values, strict=True))


def _plain(values: np.ndarray) -> list:
    if values.dtype == object:
        values = np.vectorize(lambda value: value.decode("utf-8", "replace"), otypes=[object])(values)
    return values.tolist()
