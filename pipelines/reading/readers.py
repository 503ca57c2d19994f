"""Files -> documents. Everything is opened through running/files.py, so gs:// and s3:// read like a local path.

A record without a document becomes a BadRecord, and bytes that no record bounds a Loss; both name the file, the place
and the reason, and the job continues. A file that the storage cannot deliver raises a StorageError, which ends the job.
"""

import dataclasses
import io
import re
from collections.abc import Iterator

from apache_beam.io.filesystem import BeamIOError

from bert_tf.core.errors import InputError, StorageError, reason_of, require
from pipelines.reading import compression, streams
from pipelines.reading.formats import parquet, plain_text
from pipelines.reading.formats.fields import Fields, NoDocument, TextField
from pipelines.reading.formats.json_text import has_object_a_line, json_lines, json_values
from pipelines.reading.formats.lines import Lines
from pipelines.reading.formats.tfds_records import dataset_records
from pipelines.reading.formats.wikiextractor import wiki_documents
from pipelines.reading.inputs import Part
from pipelines.reading.outcomes import BadRecord, BytesRead, Document, Loss, Problem, Span
from pipelines.running import files

MAX_DOCUMENT_BYTES = 10_000_000
DOCUMENT_PER = ("block", "line", "file")
_JSON_NAME = re.compile(r"\.(json|jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)
_JSON_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*["}]')
# Not at the beginning only: a file may have been split in the middle of an article.
_WIKI_LINE = re.compile(rb'^(?:\xef\xbb\xbf)?\s*<doc id="', re.MULTILINE)
_READ_ERRORS = (*compression.ERRORS, BeamIOError, UnicodeError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How to find documents in files, where their content does not tell.

    Attributes:
      text_field: of JSON objects, Parquet tables and TFDS datasets.
      source_field, licence_field: likewise, with a document's source and licence, for provenance; "" = none.
      document_per: in plain text: "block" = the lines up to a blank one, "line" or "file".
      encoding: of text without a byte order mark; Parquet and TFDS hold UTF-8.
      max_document_bytes: larger documents are losses.
    """

    text_field: str = "text"
    source_field: str = ""
    licence_field: str = ""
    document_per: str = "block"
    encoding: str = "utf-8"
    max_document_bytes: int = MAX_DOCUMENT_BYTES

    def __post_init__(self):
        require(self.document_per in DOCUMENT_PER, f"--document_per must be one of {DOCUMENT_PER}", self.document_per)
        require(self.max_document_bytes > 0, "--max_document_bytes must be positive", self.max_document_bytes)
        try:
            streams.normalized_encoding(self.encoding)
        except (LookupError, ValueError):
            raise InputError(
                f"--encoding must be one of Python's text encodings, such as latin-1. Received: {self.encoding}."
            ) from None

    @property
    def fields(self) -> Fields:
        """The fields of a record that hold a text."""
        return TextField(self.text_field, self.source_field, self.licence_field)


DEFAULT_FORMAT = Format()


def read_documents(part: Part, file_format: Format = DEFAULT_FORMAT) -> Iterator[str | BadRecord | Loss]:
    """Yields what read_part does, the text of one document at a time and without the number of bytes."""
    for found in read_part(part, file_format):
        if isinstance(found, list):
            yield from (document.text for document in found)
        elif not isinstance(found, BytesRead):
            yield found


def read_part(
    part: Part, file_format: Format = DEFAULT_FORMAT, fields: Fields | None = None
) -> Iterator[list[Document] | BadRecord | Loss | BytesRead]:
    """Yields the documents of a part of a file, a BadRecord or Loss for what gives none, and the number of bytes read.

    A Parquet file, a record file of a TFDS dataset and a file of JSON objects hold one document a row, in a field.
    WikiExtractor's output holds one in each <doc>. Any other file is plain text, where a blank line ends a document.
    Kind, compression (gzip, bzip2, xz, zstd) and byte order mark are recognized by the content, JSON also by the name.
    A file that is compressed, in another encoding than UTF-8, or JSON of another layout than an object a line is read
    whole with its first part.

    Args:
      part: of a file.
      file_format: what the files hold.
      fields: what records become; None for file_format.fields.

    The bytes of all parts of a file, read, in bad records and in losses, add up to its size.
    """
    try:
        with files.open_to_read(part.path) as opened:
            raw: io.BufferedReader = io.BufferedReader(opened, streams.BUFFER_BYTES)  # type: ignore[arg-type]
            size = raw.seek(0, io.SEEK_END)
            raw.seek(0)
            yield from _accounted(part, raw, size, file_format, fields or file_format.fields)
    except (OSError, BeamIOError) as error:
        reason = files.reason_of(error)
        raise StorageError(f"{part.path}: expected a file that can be read. Received: {reason}.") from None


def _accounted(part: Part, raw: io.BufferedReader, size: int, file_format: Format, fields: Fields):
    """What read_part yields: spans of a stream as bytes of the file."""
    read = documents = 0
    source = _Source(raw)
    try:
        for span in _spans(part, source, size, file_format, fields):
            number = source.bytes_of(span)
            if span.problem is not None:
                yield _reported(part.path, span.problem, number, size)
                continue
            read += number
            if span.documents:
                yield [
                    document._replace(file=part.path, part=part.start, number=number)
                    for number, document in enumerate(span.documents, start=documents)
                ]
                documents += len(span.documents)
        reason = source.trailing()
    except _READ_ERRORS as error:
        if streams.storage_failed(error):
            raise
        reason = f"reading failed: {reason_of(error)}"
        yield _rest_lost(part.path, source.position, size, reason, cut=True)
    except _NotRead as error:
        yield _rest_lost(part.path, 0, size, str(error))
    else:
        if reason:
            yield _rest_lost(part.path, source.position, size, reason)
    yield BytesRead(part.path, read)


def _reported(path: str, problem: Problem, number: int, size: int) -> BadRecord | Loss:
    where = (path, problem.unit, problem.position, problem.reason, number)
    return Loss(*where, size if problem.cut else number) if problem.lost else BadRecord(*where)


def _rest_lost(path: str, position: int, size: int, reason: str, *, cut: bool = False) -> Loss:
    return Loss(path, "byte", position, reason, size - position, size if cut else size - position)


class _NotRead(Exception):  # noqa: N818 - it becomes a loss
    """A file of a kind that is not read; the message names it and says what to do."""


class _Source:
    """The bytes to find documents in, and the bytes of the file that they come from.

    Attributes:
      file: the last of the streams, each made from the one before.
      position: behind the last span, in bytes of the file.
    """

    def __init__(self, raw: io.BufferedReader):
        self.file = raw
        self.position = 0
        self._layers: list[streams.Derived] = []

    def add(self, layer: streams.Derived) -> bytes:
        """Puts a stream on top and returns what it begins with."""
        self._layers.append(layer)
        self.file = io.BufferedReader(layer, streams.BUFFER_BYTES)
        return self.file.peek()

    def bytes_of(self, span: Span) -> int:
        """How many bytes of the file stand for a span; spans of a stream made from another one are without gaps."""
        start, end = span.start, span.end
        for layer in reversed(self._layers):
            start, end = self.position, layer.source_offset(end)
        self.position = end
        return end - start

    def trailing(self) -> str | None:
        """What compressed data ends before."""
        return next((layer.trailing for layer in self._layers if isinstance(layer, compression.Decompressed)), None)


def _spans(part: Part, source: _Source, size: int, file_format: Format, fields: Fields) -> Iterator[Span]:
    max_bytes = file_format.max_document_bytes
    if part.dataset:
        yield from dataset_records(part, source.file, size, fields, max_bytes)
        return
    is_first, end = part.start == 0, part.end
    head = source.file.peek()
    if kind := compression.compression_of(head):
        if not is_first:
            return
        end = None
        head = source.add(compression.Decompressed(source.file, kind))
    if head.startswith(parquet.MAGIC) and not kind:
        yield from parquet.parquet_rows(part, source.file, fields, max_bytes)
        return
    if reason := _not_read(head, kind):
        if is_first:
            raise _NotRead(reason)
        return
    if (encoding := streams.encoding_of(head, file_format.encoding)) != "utf-8":
        if not is_first:
            return
        end = None
        head = source.add(streams.Transcoded(source.file, encoding))
    if streams.has_carriage_returns_only(head):
        source.file = io.BufferedReader(streams.CarriageReturns(source.file), streams.BUFFER_BYTES)  # type: ignore[type-var]
        head = source.file.peek()
    yield from _text_spans(part._replace(end=end), source.file, head, file_format, fields, encoding)


def _not_read(head: bytes, kind: compression.Compression | None) -> str | None:
    found = compression.foreign_format(head)
    if kind and not found:
        inner = compression.compression_of(head)
        found = inner and f"{inner.name} data; decompress it once"
        found = "a Parquet file; decompress it" if head.startswith(parquet.MAGIC) else found
    return found and (f"{kind.name} with {found}" if kind else found)


def _text_spans(part: Part, file, head: bytes, file_format: Format, fields: Fields, encoding: str) -> Iterator[Span]:
    max_bytes = file_format.max_document_bytes
    lines = Lines(file, start=part.start, end=part.end, max_bytes=max_bytes, encoding=encoding)
    if _JSON_NAME.search(part.path) or _JSON_START.match(head):
        if has_object_a_line(head, is_whole=len(head) < streams.BUFFER_BYTES):
            return json_lines(lines, fields, encoding.upper())
        return iter(()) if part.start else json_values(file, fields, max_bytes, encoding.upper())
    if _WIKI_LINE.search(head):
        spans = wiki_documents(lines)
    elif file_format.document_per == "file":
        whole = Lines(file, max_bytes=max_bytes, encoding=encoding)
        spans = iter(()) if part.start else plain_text.whole_file(whole)
    else:
        spans = plain_text.single_lines(lines) if file_format.document_per == "line" else plain_text.blocks(lines)
    return spans if isinstance(fields, TextField) else _of_texts(spans, fields, part)


def _of_texts(spans: Iterator[Span], fields: Fields, part: Part) -> Iterator[Span]:
    """The spans of plain text, with what `fields` make of each text."""
    try:
        fields.of_text("")
    except NoDocument as error:
        if part.start == 0:
            raise _NotRead(str(error)) from None
        return
    for span in spans:
        yield span._replace(documents=[one._replace(text=fields.of_text(one.text)) for one in span.documents])
