"""The field of a record that holds its document -> the document."""

import json
from typing import NamedTuple

import numpy as np

from pipelines.reading.outcomes import Document

TOO_LARGE = "a document of more than {:,} bytes (--max_document_bytes)"


class Fields(NamedTuple):
    """Names of the fields of a record: with the document, its source and its licence; "" for none."""

    text: str
    source: str = ""
    licence: str = ""


class NoDocument(Exception):  # noqa: N818 - it becomes a bad record
    """A field without a document; the message says why."""


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
      NoDocument: no JSON object, one without a document in the field, or one that holds the columns of a table.
    """
    text_field = fields.text
    expected = f'no JSON object with a string "{text_field}"'
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
        raise NoDocument(expected) from None
    if not isinstance(found, dict) or not isinstance(value := found.get(text_field), (str, list)):
        raise NoDocument(expected)
    if isinstance(found, _Repeated) and _times(text, text_field) != 1:
        raise NoDocument(f'a JSON object with more than one "{text_field}"')
    columns = [key for key, column in found.items() if isinstance(column, list) and len(column) == len(value)]
    if isinstance(value, list) and len(value) > 1 and len(columns) == len(found) > 1:
        raise NoDocument(
            f"a table by columns ({', '.join(columns)[:80]}) instead of an object for each of its {len(value):,} rows"
        )
    return Document(document_of(value), source=label_of(found, fields.source), licence=label_of(found, fields.licence))


def label_of(record: dict, field: str) -> str | None:
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


def _times(text: str, text_field: str) -> int:
    """How often the outermost object of a JSON text has the key."""
    times: list[int] = []

    def count(pairs):
        times.append(sum(key == text_field for key, _ in pairs))

    json.loads(text, object_pairs_hook=count, parse_int=lambda digits: 0)
    return times[-1]  # inner objects come first
