"""The lines of a part of a file; or whole documents at once from ordinary plain text."""

import io
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.reading.outcomes import Document, Problem

_LINE_AT_ONCE = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_WITH_SPACES = re.compile(rb"\n[ \t\x0b\x0c]+\n")
_ISO_2022 = b"\x1b$"  # switches to Chinese, Japanese or Korean, written in ASCII


class Line(NamedTuple):
    """A line of a part: its number in the part, from 1, and the byte of the file where it begins."""

    number: int
    offset: int
    data: bytes  # without its end; cut if it is too long
    is_whole: bool


class Lines:
    """The lines that begin in a part, and those behind it until the reader stops.

    Args:
      file: the whole file, at its beginning.
      start, end: of the part, in bytes; end is None for the rest of the file.
      max_bytes: of a document; longer lines are cut.
      encoding: of the file, for messages; `file` gives UTF-8.

    Attributes:
      offset: of the next line.
    """

    def __init__(
        self,
        file: io.BufferedReader,
        *,
        start: int = 0,
        end: int | None = None,
        max_bytes: int,
        encoding: str = "utf-8",
    ):
        self.file, self.start, self.max_bytes, self._end = file, start, max_bytes, end
        self.offset = start
        self._number = 0  # of lines before the next one
        self._unusual_until = 0
        self._not_decodable = f"bytes that are no {encoding.upper()}"

    def __iter__(self) -> Iterator[Line]:
        """Lines without line ends and byte order mark: a document does not depend on its place in a file."""
        if self.start:
            self.file.seek(self.offset - 1)
            self.offset += self._skip_line(within_part=True) - 1
            if self.is_past(self.offset):
                return
        while data := self.file.readline(self.max_bytes + 2):
            first = self.offset
            self._number += 1
            self.offset += len(data)
            is_whole = data.endswith(b"\n") or len(data) < self.max_bytes + 2
            if not is_whole:
                self.offset += self._skip_line()
            if first == 0:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            yield Line(self._number, first, data.rstrip(b"\r\n"), is_whole)

    def plain_documents(self, separator: bytes) -> list[Document]:
        """Whole documents from the buffer, where a document begins, if the text has no special cases.

        The same documents as line by line, many times as fast. [] means: read line by line.

        Args:
          separator: of documents, one or two line breaks.
        """
        if self.offset < self._unusual_until:
            return []
        data = self.file.peek(1)
        self._unusual_until = self.offset + len(data)
        end = data.rfind(separator) + len(separator)
        if end < len(separator) or end > self.max_bytes or self.is_past(self.offset + end):
            return []
        data = data[:end]
        if b"\r" in data or data[:1].isspace() or data.startswith(_BYTE_ORDER_MARK) or _BLANK_WITH_SPACES.search(data):
            return []
        if b"\0" in data or _ISO_2022[:1] in data:  # single bytes are found many times as fast as two
            return []
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return []
        self.file.read(end)
        sizes = (len(part) + len(separator) for part in data.split(separator))
        starts = itertools.accumulate(sizes, initial=self.offset)
        self.offset += end
        self._number += data.count(b"\n")
        return [
            Document(document, offset + len(part) - len(part.lstrip("\n")))
            for offset, part in zip(starts, text.split(separator.decode()), strict=False)
            if (document := part.strip("\n"))
        ]

    def _skip_line(self, *, within_part: bool = False) -> int:
        skipped = 0
        while rest := self.file.readline(_LINE_AT_ONCE):
            skipped += len(rest)
            # A line that ends in another part is read to its end only in the part where it begins.
            if rest.endswith(b"\n") or (within_part and self.is_past(self.offset + skipped - 1)):
                break
        return skipped

    def is_past(self, offset: int) -> bool:
        """Whether a document that begins at the offset belongs to another part."""
        return self._end is not None and offset >= self._end

    def text(self, lines: list[Line]) -> str | Problem:
        """A document of whole lines."""
        data = b"\n".join(line.data for line in lines)
        if (zero := data.find(b"\0")) >= 0:
            reason = "zero bytes, as in binary files and UTF-16; --encoding names the encoding of text"
            return self.problem(lines[data.count(b"\n", 0, zero)], reason)
        if (escape := data.find(_ISO_2022)) >= 0:
            reason = "escape sequences of ISO 2022; --encoding names the encoding, such as iso2022_jp"
            return self.problem(lines[data.count(b"\n", 0, escape)], reason)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            return self.problem(lines[data.count(b"\n", 0, error.start)], self._not_decodable)

    def problem(self, line: Line, reason: str) -> Problem:
        """A bad record at the line."""
        return Problem("byte", line.offset, reason) if self.start else Problem("line", line.number, reason)

    def too_large(self, line: Line, why: str = "") -> Problem:
        """A document that begins at the line and is not read because of its size."""
        reason = f"a document of more than {self.max_bytes:,} bytes{why} (--max_document_bytes)"
        return self.problem(line, reason)._replace(lost=True)
