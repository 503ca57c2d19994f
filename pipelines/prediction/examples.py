"""Records -> examples of a SavedModel, as JSON text, which is how they travel from readers to the model."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.prediction.description import Signature
from pipelines.reading.formats.fields import NoDocument
from pipelines.reading.outcomes import Document


class Example(NamedTuple):
    """What the model is asked.

    Attributes:
      signature: the number of the signature that takes it.
      inputs: {input: text, or a list of texts}.
      kept: {column: its value}, which the answer carries.
    """

    signature: int
    inputs: dict[str, str | list[str]]
    kept: dict[str, Any]


def example_of(document: str) -> Example:
    """What ExampleFields made."""
    return Example(*json.loads(document))


@dataclasses.dataclass(frozen=True)
class ExampleFields:
    """Fields (see pipelines/reading/formats/fields.py) of a model's inputs, read as bert_tf.predict reads them.

    Args:
      signatures: of the model; the first whose inputs a record has takes it.
      keep: further columns, which the answers carry.
    """

    signatures: tuple[Signature, ...]
    keep: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        columns = [column for signature in self.signatures for column in signature.fields.values()]
        return tuple(dict.fromkeys([*columns, *self.keep]))

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def expected(self) -> str:
        return "no JSON object"

    def check_object(self, record: Mapping[str, Any]) -> None:
        """`document` says what is missing."""

    def document(self, record: Mapping[str, Any]) -> Document:
        problem = ""
        for number, signature in enumerate(self.signatures):
            try:
                inputs = {
                    name: _list_of(record, column) if name in signature.lists else _text_of(record, column)
                    for name, column in signature.fields.items()
                }
            except NoDocument as error:
                problem = problem or str(error)
                continue
            kept = {name: _plain(record.get(name)) for name in self.keep}
            return Document(json.dumps([number, inputs, kept], ensure_ascii=False))
        raise NoDocument(problem)

    def of_text(self, text: str) -> str:
        fields = self.signatures[0].fields
        if len(fields) > 1 or self.keep:
            columns = ", ".join(self.names)
            raise NoDocument(f"a plain text; expected JSON or Parquet with the columns {columns}")
        (name,) = fields
        return json.dumps([0, {name: text}, {}], ensure_ascii=False)


def _text_of(record: Mapping[str, Any], column: str) -> str:
    value = _plain(record.get(column))
    if value is None:
        raise NoDocument(f"expected a column {column!r}, received {', '.join(map(str, record)) or 'none'}")
    if not isinstance(value, str | int | float):
        raise NoDocument(f"{column}: expected text or a number, received {type(value).__name__}")
    return _valid(str(value))


def _list_of(record: Mapping[str, Any], column: str) -> list[str]:
    values = _plain(record.get(column))
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise NoDocument(f"{column}: expected a list of texts, received {type(values).__name__}")
    return [_valid(str(value)) for value in values]


def _plain(value: Any) -> Any:
    """A value of Parquet or TFDS as JSON has it."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise NoDocument("bytes that are no UTF-8") from None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, str):
        return _valid(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _valid(text: str) -> str:
    # JSON can name half of a surrogate pair, which no UTF-8 can hold.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
