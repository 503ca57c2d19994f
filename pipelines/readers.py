"""Files -> documents. Everything is opened through Beam's FileSystems, so gs:// and s3:// read like a local path.

What cannot be read does not end the job: it becomes a BadRecord, which names the file, the place and the reason.
"""

import bz2
import contextlib
import dataclasses
import functools
import gzip
import html
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow
import pyarrow.parquet
import zstandard
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines import shards
from pipelines.inputs import Part

MAX_DOCUMENT_BYTES = 10_000_000
_LINE_AT_ONCE = 1 << 20
_BYTES_AT_ONCE = 1 << 20
_DECOMPRESSED_AT_ONCE = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_WITH_SPACES = re.compile(rb"\n[ \t\x0b\x0c]+\n")
# By their first bytes. Beam's own readers take a truncated file for a whole one; these do not.
_DECOMPRESSORS = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda raw: pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd"),
}
_PARQUET = b"PAR1"
_JSON_NAME = re.compile(r"\.(json|jsonl|ndjson)(\.\w+)?$")
_JSON_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"')
_WIKI_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*<doc id="')
_WIKI_TITLE = re.compile(r'\btitle="(.*)"')
_READ_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError, BeamIOError, pyarrow.ArrowException)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How to find documents in files, where their content does not tell."""

    text_field: str = "text"  # of JSON objects, Parquet tables and TFDS datasets
    document_per_file: bool = False  # plain text: blank lines do not end a document


DEFAULT_FORMAT = Format()


class BadRecord(NamedTuple):
    """Something that is no document.

    Attributes:
      path: the file.
      unit: what the position counts: "line", "row" or "record", from 1; or "byte", from 0, where a line begins, behind
        the first part of a file that several workers read.
      position: where it stands.
      reason: what is wrong with it.
    """

    path: str
    unit: str
    position: int
    reason: str


class _Line(NamedTuple):
    number: int
    offset: int
    data: bytes  # without its end; cut if it is too long
    is_whole: bool


class _Lines:
    """The lines of a part: those that begin in it, and on until the reader has had enough."""

    def __init__(self, part: Part, file: io.BufferedReader, max_bytes: int):
        self.part, self.max_bytes = part, max_bytes
        self._file = file
        self._offset, self._number = part.start, 0  # of the next line, and how many came before it
        self._unusual_until = 0

    def __iter__(self) -> Iterator[_Line]:
        """Lines without their ends and byte order mark: a document is the same wherever it stands."""
        if self.part.start:
            self._file.seek(self._offset - 1)
            self._offset += self._skip_line(self._offset) - 1
            if self.is_past(self._offset):
                return
        while data := self._file.readline(self.max_bytes + 2):
            first = self._offset
            self._number += 1
            self._offset += len(data)
            is_whole = data.endswith(b"\n") or len(data) < self.max_bytes + 2
            if first == 0:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            yield _Line(self._number, first, data.rstrip(b"\r\n"), is_whole)
            if not is_whole:
                self._offset += self._skip_line(self._offset)
                # What begins behind it is another part's, and the rest of it may be as large as the file.
                if self.is_past(self._offset):
                    return

    def plain_documents(self) -> list[str]:
        """Whole documents of plain text that lie in the buffer, from a document's begin on, if all is as usual there.

        What they would be if they were read line by line, many times as fast. [] says nothing about the text.
        """
        if self._offset < self._unusual_until:
            return []
        data = self._file.peek(1)
        self._unusual_until = self._offset + len(data)
        end = data.rfind(b"\n\n") + 2
        if end < 2 or end > self.max_bytes or self.is_past(self._offset + end):
            return []
        data = data[:end]
        if b"\r" in data or data[:1].isspace() or data.startswith(_BYTE_ORDER_MARK) or _BLANK_WITH_SPACES.search(data):
            return []
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return []
        self._file.read(end)
        self._offset += end
        self._number += data.count(b"\n")
        return [document for part in text.split("\n\n") if (document := part.strip("\n"))]

    def here(self) -> _Line:
        """A line that tells how far the file is read."""
        return _Line(self._number, self._offset, b"", True)

    def _skip_line(self, offset: int) -> int:
        skipped = 0
        while not self.is_past(offset + skipped - 1) and (rest := self._file.readline(_LINE_AT_ONCE)):
            skipped += len(rest)
            if rest.endswith(b"\n"):
                break
        return skipped

    def is_past(self, offset: int) -> bool:
        """Whether what begins there belongs to another part."""
        return self.part.end is not None and offset >= self.part.end

    def bad(self, line: _Line, reason: str) -> BadRecord:
        if self.part.start:
            return BadRecord(self.part.path, "byte", line.offset, reason)
        return BadRecord(self.part.path, "line", line.number, reason)


def read_documents(
    part: Part, file_format: Format = DEFAULT_FORMAT, *, max_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[str | BadRecord]:
    """Yields the documents of one part of a file, and what is wrong with the others.

    A Parquet file, a record file of a TFDS dataset and a file of JSON objects hold one document a row, in a field.
    WikiExtractor's output holds one in each <doc>. Any other file is plain text, where a blank line ends a document.
    Kind and compression (gzip, bz2, xz, zstd) are recognized by the content, JSON also by the name. A compressed file
    is read whole with its first part.
    """
    if part.dataset:
        yield from _dataset_records(part, file_format.text_field)
        return
    last = BadRecord(part.path, "byte", part.start, "")
    try:
        with FileSystems.open(part.path, compression_type=CompressionTypes.UNCOMPRESSED) as opened:
            raw = io.BufferedReader(opened, _BYTES_AT_ONCE)
            decompress = _decompressor(raw)
            if decompress and part.start:
                return
            with _decompressed(raw, decompress) as file:
                head = file.peek(4)
                if head.startswith(_PARQUET):
                    yield from _parquet_rows(part, file, file_format.text_field)
                    return
                lines = _Lines(part._replace(end=None) if decompress else part, file, max_bytes)
                for line, found in _records(lines, head, file_format):
                    last = lines.bad(line, "")
                    yield found
    except _READ_ERRORS as error:
        yield last._replace(reason=f"the file cannot be read on from about here: {error}")


def _records(lines: _Lines, head: bytes, file_format: Format) -> Iterator[tuple[_Line, str | BadRecord]]:
    if _JSON_NAME.search(lines.part.path) or _JSON_START.match(head):
        return _json_lines(lines, file_format.text_field)
    if _WIKI_START.match(head):
        return _wiki_documents(lines)
    if file_format.document_per_file:
        return _whole_file(lines)
    return _paragraphs(lines)


def _decompressor(raw: io.BufferedReader):
    start = raw.peek(6)[:6]
    return next((opener for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def _decompressed(raw: io.BufferedReader, decompress) -> Iterator[io.BufferedReader]:
    if decompress is None:
        yield raw
    else:
        with decompress(raw) as file:
            yield io.BufferedReader(_Piecewise(file), _DECOMPRESSED_AT_ONCE)


class _Piecewise(io.RawIOBase):
    """Hands on what there is, so that an error comes behind everything that could be read before it."""

    def __init__(self, file):
        self._read = getattr(file, "read1", file.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _paragraphs(lines: _Lines) -> Iterator[tuple[_Line, str | BadRecord]]:
    """A document is the part's in which the blank line before it begins; the first one is the first part's."""
    paragraph: list[_Line] = []
    size = 0
    is_ours = lines.part.start == 0
    each_line = iter(lines)
    while True:
        if is_ours and not paragraph:
            for text in lines.plain_documents():
                yield lines.here(), text
        line = next(each_line, None)
        if line is None:
            break
        if line.data.strip():
            size += len(line.data) + (0 if line.is_whole else lines.max_bytes)
            if is_ours and (size <= lines.max_bytes or not paragraph):
                paragraph.append(line)
            if not is_ours and lines.is_past(line.offset):
                return
            continue
        if paragraph:
            yield paragraph[0], _text(lines, paragraph, size)
        paragraph, size = [], 0
        is_ours = True
        if lines.is_past(line.offset):
            return
    if paragraph:
        yield paragraph[0], _text(lines, paragraph, size)


def _whole_file(lines: _Lines) -> Iterator[tuple[_Line, str | BadRecord]]:
    if lines.part.start:
        return
    whole = _Lines(lines.part._replace(end=None), lines._file, lines.max_bytes)
    document: list[_Line] = []
    size = 0
    for line in whole:
        size += len(line.data) + 1
        if size > lines.max_bytes or not line.is_whole:
            yield line, lines.bad(line, f"a document of more than {lines.max_bytes:,} bytes")
            return
        document.append(line)
    if any(line.data.strip() for line in document):
        yield document[0], _text(lines, document, 0)


def _text(lines: _Lines, paragraph: list[_Line], size: int) -> str | BadRecord:
    if size > lines.max_bytes:
        reason = f"a document of more than {lines.max_bytes:,} bytes without a blank line"
        return lines.bad(paragraph[0], reason)
    try:
        return b"\n".join(line.data for line in paragraph).decode("utf-8")
    except UnicodeDecodeError as error:
        return lines.bad(paragraph[error.object[: error.start].count(b"\n")], "bytes that are no UTF-8")


def _json_lines(lines: _Lines, text_field: str) -> Iterator[tuple[_Line, str | BadRecord]]:
    for line in lines:
        if lines.is_past(line.offset):
            return
        if line.data.strip():
            yield line, _json_text(lines, line, text_field)


def _json_text(lines: _Lines, line: _Line, text_field: str) -> str | BadRecord:
    if not line.is_whole:
        return lines.bad(line, "a line that is too long for a document")
    try:
        text = json.loads(line.data.decode("utf-8"))[text_field]
        if not isinstance(text, str):
            raise TypeError
    except UnicodeDecodeError:
        return lines.bad(line, "bytes that are no UTF-8")
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
        return lines.bad(line, f'no JSON object with a string "{text_field}"')
    # JSON can name half of a surrogate pair, which no UTF-8 can hold.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _wiki_documents(lines: _Lines) -> Iterator[tuple[_Line, str | BadRecord]]:
    """What stands between <doc ...> and </doc>, without the title, which is no sentence."""
    document: list[_Line] = []
    size = 0
    for line in lines:
        if line.data.startswith(b"<doc "):
            if document:
                yield document[0], lines.bad(document[0], "a <doc> without </doc>")
            if lines.is_past(line.offset):
                return
            document, size = [line], 0
        elif not document:
            if lines.is_past(line.offset):
                return
        elif line.data == b"</doc>":
            yield document[0], _wiki_text(lines, document, size)
            document = []
        else:
            size += len(line.data) + (0 if line.is_whole else lines.max_bytes)
            if size <= lines.max_bytes:
                document.append(line)
    if document:
        yield document[0], lines.bad(document[0], "a <doc> without </doc>")


def _wiki_text(lines: _Lines, document: list[_Line], size: int) -> str | BadRecord:
    text = _text(lines, document, 0)
    if isinstance(text, BadRecord):
        return text
    if size > lines.max_bytes:
        return lines.bad(document[0], f"a document of more than {lines.max_bytes:,} bytes")
    opening, _, text = text.partition("\n")
    title = _WIKI_TITLE.search(opening)
    first, _, rest = text.partition("\n")
    return html.unescape(rest if title and first == title.group(1) else text).strip()


def _parquet_rows(part: Part, file: io.BufferedReader, text_field: str) -> Iterator[str | BadRecord]:
    table = pyarrow.parquet.ParquetFile(file)
    if text_field not in table.schema_arrow.names:
        if part.start == 0:
            columns = ", ".join(table.schema_arrow.names)
            yield BadRecord(part.path, "row", 1, f'no column "{text_field}" but {columns}')
        return
    row = 0
    for group in range(table.num_row_groups):
        about = table.metadata.row_group(group)
        offset = about.column(0).data_page_offset
        if offset < part.start or (part.end is not None and offset >= part.end):
            row += about.num_rows
            continue
        for batch in table.iter_batches(batch_size=1024, row_groups=[group], columns=[text_field]):
            for text in batch.column(0).to_pylist():
                row += 1
                yield (
                    text if isinstance(text, str) else BadRecord(part.path, "row", row, f"a text that is {text!r:.40}")
                )


def _dataset_records(part: Part, text_field: str) -> Iterator[str | BadRecord]:
    features = _dataset_features(part.dataset)
    if text_field not in features:
        yield BadRecord(part.path, "record", 1, f'no feature "{text_field}" but {", ".join(features)}')
        return
    number = 0
    try:
        with FileSystems.open(part.path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for serialized in shards.read_records(file):
                number += 1
                text = features.deserialize_example_np(serialized)[text_field]
                try:
                    yield text.decode("utf-8")
                except (UnicodeDecodeError, AttributeError):
                    yield BadRecord(part.path, "record", number, f"a text that is {text!r:.40}")
    except _READ_ERRORS as error:
        yield BadRecord(part.path, "record", number + 1, f"the file cannot be read on: {error}")


@functools.lru_cache(maxsize=1)
def _dataset_features(folder: str):
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(folder).info.features
