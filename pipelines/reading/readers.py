"""Files -> documents. Everything is opened through Beam's FileSystems, so gs:// and s3:// read like a local path.

Data that is no document becomes a BadRecord, which names the file, the place and the reason, and the job continues. A
file that the storage cannot deliver raises a StorageError, which ends the job.
"""

import dataclasses
import functools
import html
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator

import pyarrow
import pyarrow.parquet
import zstandard
from apache_beam.io.filesystem import BeamIOError

from bert_tf.core import record_files
from bert_tf.core.errors import StorageError
from pipelines.reading.inputs import BadRecord, Part
from pipelines.reading.lines import Line, Lines, decompressed, decompressor
from pipelines.running import files

MAX_DOCUMENT_BYTES = 10_000_000
_BYTES_AT_ONCE = 1 << 20
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


def read_documents(
    part: Part, file_format: Format = DEFAULT_FORMAT, *, max_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[str | BadRecord]:
    """Yields the documents of one part of a file, and a BadRecord for each record that is none.

    A Parquet file, a record file of a TFDS dataset and a file of JSON objects hold one document a row, in a field.
    WikiExtractor's output holds one in each <doc>. Any other file is plain text, where a blank line ends a document.
    Kind and compression (gzip, bz2, xz, zstd) are recognized by the content, JSON also by the name. A compressed file
    is read whole with its first part.
    """
    if part.dataset:
        yield from _dataset_records(part, file_format.text_field, max_bytes)
        return
    last = BadRecord(part.path, "byte", part.start, "")
    try:
        with files.open_to_read(part.path) as opened:
            raw: io.BufferedReader = io.BufferedReader(opened, _BYTES_AT_ONCE)  # type: ignore[arg-type]
            decompress = decompressor(raw)
            if decompress and part.start:
                return
            with decompressed(raw, decompress) as file:
                head = file.peek(4)
                if head.startswith(_PARQUET):
                    yield from _parquet_rows(part, file, file_format.text_field, max_bytes)
                    return
                lines = Lines(part._replace(end=None) if decompress else part, file, max_bytes)
                for line, found in _records(lines, head, file_format):
                    last = lines.bad(line, "")
                    yield found
    except _READ_ERRORS as error:
        _raise_if_storage_failed(part.path, error)
        yield last._replace(reason=f"the file cannot be read on from about here: {error}")


def _raise_if_storage_failed(path: str, error: Exception) -> None:
    """A file without permission, a missing file and a failing disk are no fault of the data: no record is bad.

    Raises:
      StorageError: with the file's name. Errors of a file's content have no errno.
    """
    if isinstance(error, BeamIOError) or getattr(error, "errno", None):
        raise StorageError(f"{path}: expected a file that can be read. Received: {files.reason_of(error)}.") from None


def _records(lines: Lines, head: bytes, file_format: Format) -> Iterator[tuple[Line, str | BadRecord]]:
    if _JSON_NAME.search(lines.part.path) or _JSON_START.match(head):
        return _json_lines(lines, file_format.text_field)
    if _WIKI_START.match(head):
        return _wiki_documents(lines)
    if file_format.document_per_file:
        return _whole_file(lines)
    return _paragraphs(lines)


def _paragraphs(lines: Lines) -> Iterator[tuple[Line, str | BadRecord]]:
    """A document is the part's in which the blank line before it begins; the first one is the first part's."""
    paragraph: list[Line] = []
    size = -1  # of the lines with a line break between them
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
            size += len(line.data) + 1 + (0 if line.is_whole else lines.max_bytes)
            if is_ours and (size <= lines.max_bytes or not paragraph):
                paragraph.append(line)
            if not is_ours and lines.is_past(line.offset):
                return
            continue
        if paragraph:
            yield paragraph[0], _text(lines, paragraph, size)
        paragraph, size = [], -1
        is_ours = True
        if lines.is_past(line.offset):
            return
    if paragraph:
        yield paragraph[0], _text(lines, paragraph, size)


def _whole_file(lines: Lines) -> Iterator[tuple[Line, str | BadRecord]]:
    if lines.part.start:
        return
    whole = Lines(lines.part._replace(end=None), lines.file, lines.max_bytes)
    document: list[Line] = []
    size = -1
    for line in whole:
        size += len(line.data) + 1
        if size > lines.max_bytes or not line.is_whole:
            yield line, lines.bad(line, f"a document of more than {lines.max_bytes:,} bytes")
            return
        document.append(line)
    if any(line.data.strip() for line in document):
        yield document[0], _text(lines, document, 0)


def _text(lines: Lines, paragraph: list[Line], size: int) -> str | BadRecord:
    if size > lines.max_bytes:
        reason = f"a document of more than {lines.max_bytes:,} bytes without a blank line"
        return lines.bad(paragraph[0], reason)
    try:
        return b"\n".join(line.data for line in paragraph).decode("utf-8")
    except UnicodeDecodeError as error:
        return lines.bad(paragraph[error.object[: error.start].count(b"\n")], "bytes that are no UTF-8")


def _json_lines(lines: Lines, text_field: str) -> Iterator[tuple[Line, str | BadRecord]]:
    for line in lines:
        if lines.is_past(line.offset):
            return
        if line.data.strip():
            yield line, _json_text(lines, line, text_field)


def _json_text(lines: Lines, line: Line, text_field: str) -> str | BadRecord:
    if not line.is_whole:
        return lines.bad(line, "a line that is too long for a document")
    try:
        text = json.loads(line.data.decode("utf-8"))[text_field]
        if not isinstance(text, str):
            raise TypeError
    except UnicodeDecodeError:
        return lines.bad(line, "bytes that are no UTF-8")
    except (ValueError, KeyError, TypeError, RecursionError):  # a number of many digits is a ValueError
        return lines.bad(line, f'no JSON object with a string "{text_field}"')
    # JSON can name half of a surrogate pair, which no UTF-8 can hold.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _wiki_documents(lines: Lines) -> Iterator[tuple[Line, str | BadRecord]]:
    """What stands between <doc ...> and </doc>, without the title, which is no sentence."""
    document: list[Line] = []
    size = -1
    for line in lines:
        if line.data.startswith(b"<doc "):
            if document:
                yield document[0], lines.bad(document[0], "a <doc> without </doc>")
            if lines.is_past(line.offset):
                return
            document, size = [line], -1
        elif not document:
            if lines.is_past(line.offset):
                return
        elif line.data == b"</doc>":
            text = _wiki_text(lines, document, size)
            if text:  # an article may be only a title
                yield document[0], text
            document = []
        else:
            size += len(line.data) + 1 + (0 if line.is_whole else lines.max_bytes)
            if size <= lines.max_bytes:
                document.append(line)
    if document:
        yield document[0], lines.bad(document[0], "a <doc> without </doc>")


def _wiki_text(lines: Lines, document: list[Line], size: int) -> str | BadRecord:
    text = _text(lines, document, 0)
    if isinstance(text, BadRecord):
        return text
    if size > lines.max_bytes:
        return lines.bad(document[0], f"a document of more than {lines.max_bytes:,} bytes")
    opening, _, text = text.partition("\n")
    title = _WIKI_TITLE.search(opening)
    first, _, rest = html.unescape(text).partition("\n")
    return rest.strip() if title and first == html.unescape(title.group(1)) else f"{first}\n{rest}".strip()


def _parquet_rows(part: Part, file: io.BufferedReader, text_field: str, max_bytes: int) -> Iterator[str | BadRecord]:
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
            for value in _as_bytes(batch.column(0)).to_pylist():
                row += 1
                yield _row_text(value, BadRecord(part.path, "row", row, ""), max_bytes)


def _as_bytes(column: pyarrow.Array) -> pyarrow.Array:
    """Strings as bytes, since Parquet does not check that they are UTF-8; other types as they are."""
    is_text = pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
    return column.cast(pyarrow.large_binary()) if is_text else column


def _row_text(value, bad: BadRecord, max_bytes: int) -> str | BadRecord:
    """A document from a field of bytes or text; `bad` names the place."""
    if isinstance(value, str):  # of a column of another kind, such as pandas' categories
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        return bad._replace(reason=f"a text that is {value!r:.40}")
    if len(value) > max_bytes:
        return bad._replace(reason=f"a document of more than {max_bytes:,} bytes")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return bad._replace(reason="bytes that are no UTF-8")


def _dataset_records(part: Part, text_field: str, max_bytes: int) -> Iterator[str | BadRecord]:
    features = _dataset_features(part.dataset)
    if text_field not in features:
        yield BadRecord(part.path, "record", 1, f'no feature "{text_field}" but {", ".join(sorted(features))}')
        return
    number = 0
    try:
        with files.open_to_read(part.path) as file:
            for serialized in record_files.read_records(file):
                number += 1
                bad = BadRecord(part.path, "record", number, "")
                try:
                    value = features.deserialize_example_np(serialized)[text_field]
                except Exception as error:  # TFDS raises what its features and protobuf raise
                    yield bad._replace(reason=f"no example of this dataset: {error}")
                else:
                    yield _row_text(value, bad, max_bytes)
    except _READ_ERRORS as error:
        _raise_if_storage_failed(part.path, error)
        yield BadRecord(part.path, "record", number + 1, f"the file cannot be read on: {error}")


@functools.lru_cache(maxsize=1)
def _dataset_features(folder: str):
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(folder).info.features
