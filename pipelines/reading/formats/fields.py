"""The fields of a record that hold its document -> the document."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from pipelines.reading.outcomes import Document

TOO_LARGE = "a document of more than {:,} bytes (--max_document_bytes)"


class NoDocument(Exception):  # noqa: N818 - it becomes a bad record
    """A field without a document; the message says why."""


class Fields(Protocol):
    """Which fields of a record are read, and the document that they make.

    Attributes:
      names: of the fields; Parquet and TFDS must have them all.
      labels: names of further fields, which may be missing.
      expected: what JSON without a document is called.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def expected(self) -> str: ...

    def check_object(self, record: Mapping[str, Any]) -> None:
        """Raises NoDocument for a JSON object that cannot have the document."""

    def document(self, record: Mapping[str, Any]) -> Document:
        """The document, without its place. Raises NoDocument."""

    def of_text(self, text: str) -> str:
        """The text of the document that a plain text makes. Raises NoDocument if a text alone makes none."""


@dataclasses.dataclass(frozen=True)
class TextField:
    """Fields: one field holds the document, as text or as a list of paragraphs.

    Args:
      name: of the field.
      source, licence: fields with the document's source and licence; "" for none.
    """

    name: str
    source: str = ""
    licence: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in (self.source, self.licence) if name not in ("", self.name)))

    @property
    def expected(self) -> str:
        return f'no JSON object with a string "{self.name}"'

    def check_object(self, record: Mapping[str, Any]) -> None:
        value = record.get(self.name)
        if not isinstance(value, (str, list)):
            raise NoDocument(self.expected)
        columns = [key for key, column in record.items() if isinstance(column, list) and len(column) == len(value)]
        if isinstance(value, list) and len(value) > 1 and len(columns) == len(record) > 1:
            raise NoDocument(
                f"a table by columns ({', '.join(columns)[:80]}) instead of an object for each of its "
                f"{len(value):,} rows"
            )

    def document(self, record: Mapping[str, Any]) -> Document:
        source, licence = label_of(record, self.source), label_of(record, self.licence)
        return Document(document_of(record[self.name]), source=source, licence=licence)

    def of_text(self, text: str) -> str:
        return text


def document_of(value) -> str:
    """A document from a field: text, UTF-8 bytes, or a list of such paragraphs, which a line break joins.

    Raises:
      NoDocument: another value, or bytes that are no UTF-8.
    """
    if isinstance(value, (list, np.ndarray)):
        return "\n".join(map(_paragraph, value))
    return _paragraph(value)


def _paragraph(value) -> str:
    if isinstance(value, str):
        # JSON can name half of a surrogate pair, which no UTF-8 can hold.
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not isinstance(value, bytes):
        raise NoDocument(f"a text that is {value!r:.40}")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise NoDocument("bytes that are no UTF-8") from None


class _Repeated(dict):
    """A JSON object that has a key more than once."""


def _object(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
# Python refuses to make numbers of thousands of digits; no document is a number.
_WITHOUT_NUMBERS = json.JSONDecoder(object_pairs_hook=_object, parse_int=lambda digits: 0)


def json_document(data: bytes, fields: Fields, encoding: str = "UTF-8") -> Document:
    """The document in a JSON object.

    Raises:
      NoDocument: no JSON object, or one without a document in the fields.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoDocument(f"bytes that are no {encoding}") from None
    try:
        try:
            found = _DECODER.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:
            found = _WITHOUT_NUMBERS.decode(text)
    except (ValueError, RecursionError):
        raise NoDocument(fields.expected) from None
    if not isinstance(found, dict):
        raise NoDocument(fields.expected)
    fields.check_object(found)
    if isinstance(found, _Repeated):
        for name in fields.names:
            if _times(text, name) > 1:
                raise NoDocument(f'a JSON object with more than one "{name}"')
    return fields.document(found)


def label_of(record: Mapping[str, Any], field: str) -> str | None:
    """A source or licence: text as it is, other values as JSON, None where there is none."""
    value = record.get(field) if field else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or isinstance(value, str):
        return value and value.encode("utf-8", "replace").decode()
    return json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)


def is_object(data: bytes) -> bool:
    """Whether it is a JSON object and nothing else."""
    try:
        return isinstance(_WITHOUT_NUMBERS.decode(data.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def _times(text: str, name: str) -> int:
    """How often the outermost object of a JSON text has the key."""
    times: list[int] = []

    def count(pairs):
        times.append(sum(key == name for key, _ in pairs))

    json.loads(text, object_pairs_hook=count, parse_int=lambda digits: 0)
    return times[-1]  # inner objects come first
