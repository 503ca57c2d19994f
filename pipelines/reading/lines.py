"""Files of any compression -> lines; or whole documents at once from ordinary plain text."""

import bz2
import contextlib
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow

from pipelines.reading.inputs import BadRecord, Part

_LINE_AT_ONCE = 1 << 20
_DECOMPRESSED_AT_ONCE = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_WITH_SPACES = re.compile(rb"\n[ \t\x0b\x0c]+\n")
# By their first bytes. Beam's own readers do not notice that a file is truncated; these do.
_DECOMPRESSORS = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda raw: pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd"),
}


class Line(NamedTuple):
    """A line of a part: its number in the part, from 1, and the byte of the file where it begins."""

    number: int
    offset: int
    data: bytes  # without its end; cut if it is too long
    is_whole: bool


class Lines:
    """The lines that begin in a part, and those behind it until the reader stops."""

    def __init__(self, part: Part, file: io.BufferedReader, max_bytes: int):
        self.part, self.max_bytes = part, max_bytes
        self.file = file
        self._offset, self._number = part.start, 0  # of the next line, and how many came before it
        self._unusual_until = 0

    def __iter__(self) -> Iterator[Line]:
        """Lines without line ends and byte order mark: a document does not depend on its place in a file."""
        if self.part.start:
            self.file.seek(self._offset - 1)
            self._offset += self._skip_line(self._offset) - 1
            if self.is_past(self._offset):
                return
        while data := self.file.readline(self.max_bytes + 2):
            first = self._offset
            self._number += 1
            self._offset += len(data)
            is_whole = data.endswith(b"\n") or len(data) < self.max_bytes + 2
            if first == 0:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            yield Line(self._number, first, data.rstrip(b"\r\n"), is_whole)
            if not is_whole:
                self._offset += self._skip_line(self._offset)
                # The next line may belong to another part, and this one may be as large as the file.
                if self.is_past(self._offset):
                    return

    def plain_documents(self) -> list[str]:
        """Whole documents from the buffer, where a document begins, if the text has no special cases.

        The same documents as line by line, many times as fast. [] means: read line by line.
        """
        if self._offset < self._unusual_until:
            return []
        data = self.file.peek(1)
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
        self.file.read(end)
        self._offset += end
        self._number += data.count(b"\n")
        return [document for part in text.split("\n\n") if (document := part.strip("\n"))]

    def here(self) -> Line:
        """An empty line at the current position."""
        return Line(self._number, self._offset, b"", True)

    def _skip_line(self, offset: int) -> int:
        skipped = 0
        while not self.is_past(offset + skipped - 1) and (rest := self.file.readline(_LINE_AT_ONCE)):
            skipped += len(rest)
            if rest.endswith(b"\n"):
                break
        return skipped

    def is_past(self, offset: int) -> bool:
        """Whether a document that begins at the offset belongs to another part."""
        return self.part.end is not None and offset >= self.part.end

    def bad(self, line: Line, reason: str) -> BadRecord:
        """The BadRecord that begins at the line."""
        if self.part.start:
            return BadRecord(self.part.path, "byte", line.offset, reason)
        return BadRecord(self.part.path, "line", line.number, reason)


def decompressor(raw: io.BufferedReader):
    start = raw.peek(6)[:6]
    return next((opener for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def decompressed(raw: io.BufferedReader, decompress) -> Iterator[io.BufferedReader]:
    if decompress is None:
        yield raw
    else:
        with decompress(raw) as file:
            yield io.BufferedReader(_Piecewise(file), _DECOMPRESSED_AT_ONCE)


class _Piecewise(io.RawIOBase):
    """Returns the bytes available so far, so that an error comes only after all readable bytes."""

    def __init__(self, file):
        self._read = getattr(file, "read1", file.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
