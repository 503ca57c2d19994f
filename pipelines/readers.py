"""Files -> documents. Everything is opened through Beam's FileSystems, so gs:// and s3:// read like a local path.

What cannot be read does not end the job: it becomes a BadRecord, which names the file, the place and the reason.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow
import pyarrow.parquet
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from bert_tf.errors import InputError, require
from pipelines import shards

MAX_DOCUMENT_BYTES = 10_000_000
_LISTED = 10_000  # bad records, at most; all are counted
_LINE_AT_ONCE = 1 << 20
_DECOMPRESSED_AT_ONCE = 1 << 16
# By their first bytes. Beam's own readers take a truncated file for a whole one; these do not.
_DECOMPRESSORS = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda raw: pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd"),
}
_PARQUET = b"PAR1"
_JSON = re.compile(r"\.jsonl?(\.\w+)?$")
_READ_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error, BeamIOError, pyarrow.ArrowException)


class BadRecord(NamedTuple):
    """Something that is no document."""

    path: str
    position: int  # line or row, from 1
    reason: str


class _Line(NamedTuple):
    number: int
    data: bytes  # without its end; cut if it is too long
    is_whole: bool


def match_files(patterns: list[str]) -> list[FileMetadata]:
    """The files that the globs name, each once, sorted by path.

    Raises:
      InputError: a glob matches nothing.
    """
    files = {}
    for pattern in patterns:
        try:
            found = FileSystems.match([pattern])[0].metadata_list
        except Exception as error:  # each file system raises its own kind
            raise InputError(f"--input {pattern}: expected a readable glob. Received: {error}.") from None
        if not found:
            raise InputError(f"--input {pattern}: expected at least one file. Received a glob that matches nothing.")
        files.update({metadata.path: metadata for metadata in found})
    return [files[path] for path in sorted(files)]


class ReadDocuments(beam.PTransform):
    """Paths -> documents (str), and how many there were and what else; see read_documents.

    Args:
      paths: files.
      max_bad_fraction: more bad records than this share of all fail the job.
      dead_letter: JSON lines file for the bad records, the first ten thousand of them; None for no file.

    Returns:
      (documents, one dict with "read" and "bad", the numbers of documents and of bad records).
    """

    def __init__(self, paths: list[str], *, max_bad_fraction: float, dead_letter: str | None = None):
        super().__init__()
        require(0 <= max_bad_fraction <= 1, "--max_bad_fraction must lie in [0, 1]", max_bad_fraction)
        self._paths, self._max_bad_fraction, self._dead_letter = paths, max_bad_fraction, dead_letter

    def expand(self, root):
        records = (
            root
            | "Paths" >> beam.Create(self._paths)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFile" >> beam.ParDo(_ReadFile()).with_outputs("bad", main="documents")
        )
        count = records.documents | "CountDocuments" >> beam.combiners.Count.Globally()
        check = (
            records.bad
            | "CollectBad" >> beam.CombineGlobally(_FirstAndCount())
            | "CheckBad"
            >> beam.Map(_check_bad, beam.pvalue.AsSingleton(count), self._max_bad_fraction, self._dead_letter)
        )
        return records.documents, check


class _ReadFile(beam.DoFn):
    def process(self, path: str):
        for record in read_documents(path):
            yield beam.pvalue.TaggedOutput("bad", record) if isinstance(record, BadRecord) else record


class _FirstAndCount(beam.CombineFn):
    """The first records by file and position, and the number of all."""

    def create_accumulator(self):
        return [], 0

    def add_input(self, accumulator, record):
        records, count = accumulator
        records.append(record)
        return self._shortened(records), count + 1

    def merge_accumulators(self, accumulators):
        merged, total = [], 0
        for records, count in accumulators:
            merged = self._shortened(merged + records)
            total += count
        return merged, total

    def _shortened(self, records):
        # Only now and then, so that each record is sorted a few times and not once for every other one.
        return records if len(records) <= 2 * _LISTED else sorted(records)[:_LISTED]

    def extract_output(self, accumulator):
        records, count = accumulator
        return sorted(records)[:_LISTED], count


def _check_bad(
    bad: tuple[list[BadRecord], int], read: int, max_bad_fraction: float, dead_letter: str | None
) -> dict[str, int]:
    records, count = bad
    if records and dead_letter:
        lines = [json.dumps(BadRecord(*record)._asdict(), ensure_ascii=False) + "\n" for record in records]
        shards.write_bytes(dead_letter, "".join(lines).encode("utf-8", "replace"))
    if count > max_bad_fraction * (count + read):
        path, position, reason = records[0]
        raise InputError(
            f"--input: expected at most {max_bad_fraction:.2%} of bad records (--max_bad_fraction). Received {count} "
            f"beside {read} documents, the first at {path}:{position}: {reason}."
            + (f" {len(records)} of them are listed in {dead_letter}." if dead_letter else "")
        )
    return {"read": read, "bad": count}


def read_documents(path: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Iterator[str | BadRecord]:
    """Yields the documents of one file, and what is wrong with the others.

    A file of Parquet, or of JSON objects one a line, holds one document a row, in the field "text". Any other file is
    plain text: a blank line ends a document. Compression by gzip, bz2, xz and zstd is recognized by the content.
    """
    position = 0
    try:
        with (
            FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as opened,
            _decompressed(opened) as file,
        ):
            if file.peek(4)[:4] == _PARQUET:
                yield from _parquet_rows(path, file)
                return
            lines = _lines(file, max_bytes)
            records = _json_lines(path, lines) if _JSON.search(path) else _paragraphs(path, lines, max_bytes)
            for position, found in records:  # noqa: B007 - the except clause below tells it
                yield found
    except _READ_ERRORS as error:
        yield BadRecord(path, position + 1, f"the file cannot be read on: {error}")


@contextlib.contextmanager
def _decompressed(opened) -> Iterator[io.BufferedReader]:
    raw = opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened)
    start = raw.peek(6)[:6]
    decompress = next((opener for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), None)
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


def _lines(file: io.BufferedReader, max_bytes: int) -> Iterator[_Line]:
    """Lines without their ends and byte order mark: a document is the same wherever it stands."""
    number = 0
    while data := file.readline(max_bytes + 2):
        number += 1
        is_whole = data.endswith(b"\n") or len(data) < max_bytes + 2
        if not is_whole:
            while (rest := file.readline(_LINE_AT_ONCE)) and not rest.endswith(b"\n"):
                pass
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        yield _Line(number, data.rstrip(b"\r\n"), is_whole)


def _paragraphs(path: str, lines: Iterator[_Line], max_bytes: int) -> Iterator[tuple[int, str | BadRecord]]:
    paragraph: list[bytes] = []
    first, size, number = 0, 0, 0
    for number, data, is_whole in lines:
        if data.strip():
            first = first or number
            size += len(data) + (0 if is_whole else max_bytes)
            if size <= max_bytes:
                paragraph.append(data)
        elif first:
            yield number, _text(path, first, paragraph, size, max_bytes)
            paragraph, first, size = [], 0, 0
    if first:
        yield number, _text(path, first, paragraph, size, max_bytes)


def _text(path: str, first: int, paragraph: list[bytes], size: int, max_bytes: int) -> str | BadRecord:
    if size > max_bytes:
        return BadRecord(path, first, f"a document of more than {max_bytes:,} bytes without a blank line")
    try:
        return b"\n".join(paragraph).decode("utf-8")
    except UnicodeDecodeError as error:
        line = first + error.object[: error.start].count(b"\n")
        return BadRecord(path, line, "bytes that are no UTF-8")


def _json_lines(path: str, lines: Iterator[_Line]) -> Iterator[tuple[int, str | BadRecord]]:
    for number, data, is_whole in lines:
        if not data.strip():
            continue
        if not is_whole:
            yield number, BadRecord(path, number, "a line that is too long for a document")
            continue
        try:
            text = json.loads(data.decode("utf-8"))["text"]
            if not isinstance(text, str):
                raise TypeError
        except UnicodeDecodeError:
            yield number, BadRecord(path, number, "bytes that are no UTF-8")
        except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
            yield number, BadRecord(path, number, 'no JSON object with a string "text"')
        else:
            # JSON can name half of a surrogate pair, which no UTF-8 can hold.
            yield number, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parquet_rows(path: str, file: io.BufferedReader) -> Iterator[str | BadRecord]:
    table = pyarrow.parquet.ParquetFile(file)
    if "text" not in table.schema_arrow.names:
        yield BadRecord(path, 1, f'no column "text" but {", ".join(table.schema_arrow.names)}')
        return
    row = 0
    for batch in table.iter_batches(batch_size=1024, columns=["text"]):
        for text in batch.column(0).to_pylist():
            row += 1
            yield text if isinstance(text, str) else BadRecord(path, row, f"a text that is {text!r:.40}")
