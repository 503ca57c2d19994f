"""The fields of a record that hold its document -> the document."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

TOO_LARGE = "a document of more than {:,} bytes (--max_document_bytes)"


class NoDocument(Exception):  # noqa: N818 - it becomes a bad record
    """A field without a document; the message says why."""


class Fields(Protocol):
    """Which fields of a record are read, and the document that they make.

    Attributes:
      names: of the fields; Parquet and TFDS must have them all.
      expected: what a JSON object without a document is called.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def expected(self) -> str: ...

    def is_in(self, record: Mapping[str, Any]) -> bool:
        """Whether a JSON object may have the document."""

    def document(self, record: Mapping[str, Any]) -> str:
        """The document. Raises NoDocument."""

    def of_text(self, text: str) -> str:
        """The document that a plain text makes. Raises NoDocument if a text alone makes none."""


@dataclasses.dataclass(frozen=True)
class TextField:
    """Fields: one field holds the document, as text or as a list of paragraphs."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def expected(self) -> str:
        return f'no JSON object with a string "{self.name}"'

    def is_in(self, record: Mapping[str, Any]) -> bool:
        return isinstance(record.get(self.name), (str, list))

    def document(self, record: Mapping[str, Any]) -> str:
        return document_of(record[self.name])

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


def json_document(data: bytes, fields: Fields, encoding: str = "UTF-8") -> str:
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
    if not isinstance(found, dict) or not fields.is_in(found):
        raise NoDocument(fields.expected)
    if isinstance(found, _Repeated):
        for name in fields.names:
            if _times(text, name) > 1:
                raise NoDocument(f'a JSON object with more than one "{name}"')
    return fields.document(found)


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
