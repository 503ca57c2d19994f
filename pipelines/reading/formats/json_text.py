"""JSON: an object a line; or arrays of objects, and objects of several lines, in any layout."""

import io
import re
from collections.abc import Iterator

from pipelines.reading.formats.fields import TOO_LARGE, Fields, NoDocument, is_object, json_document
from pipelines.reading.formats.lines import Line, Lines
from pipelines.reading.formats.plain_text import span
from pipelines.reading.outcomes import Document, Problem, Span

_AT_ONCE = 1 << 17
_BETWEEN = re.compile(rb"[\s,]*")
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_STRUCTURE = re.compile(rb'["{}\[\]]')
_SCALAR_END = re.compile(rb'[\s,"{}\[\]]')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def has_object_a_line(head: bytes, is_whole: bool) -> bool:
    """Whether a file of JSON with this beginning is read line by line, and so may be divided into parts.

    Args:
      head: the first bytes of the file.
      is_whole: they are all there is.
    """
    head = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not head.startswith(b"{"):
        return not head.startswith(b"[")
    first = head.partition(b"\n")[0]
    end = _ValueEnd().find(first, 0)
    if end is not None and not first[end:].strip():
        return True
    # Objects of several lines, if the first of them is whole; else a file with a broken first line.
    end = _ValueEnd().find(head, 0)
    if end is None:
        return is_whole or any(is_object(line) for line in head.split(b"\n")[1:-1])
    return not is_object(head[:end])


def json_lines(lines: Lines, fields: Fields, encoding: str) -> Iterator[Span]:
    """An object a line; a line belongs to the part in which it begins."""
    start = 0 if lines.start == 0 else None
    end = None
    for line in lines:
        if lines.is_past(line.offset):
            end = line.offset
            break
        start = line.offset if start is None else start
        if line.data.strip():
            yield from span(start, line.offset, lines.offset, _line_text(lines, line, fields, encoding))
            start = lines.offset
    if start is not None:
        yield Span(start, lines.offset if end is None else end)


def _line_text(lines: Lines, line: Line, fields: Fields, encoding: str) -> Document | Problem:
    if not line.is_whole or len(line.data) > lines.max_bytes:
        return lines.too_large(line)
    try:
        return json_document(line.data, fields, encoding)
    except NoDocument as error:
        return lines.problem(line, str(error))


def json_values(file: io.BufferedReader, fields: Fields, max_bytes: int, encoding: str) -> Iterator[Span]:
    """The objects of a file, one behind the other or in arrays. Memory is bounded by a document."""
    data, at = b"", 0  # data[at] is byte base + at of the file
    base = len(file.read(3)) if file.peek(3).startswith(_BYTE_ORDER_MARK) else 0
    start = number = 0  # start: of what is not yielded yet
    in_array = False
    while True:
        at = _BETWEEN.match(data, at).end()  # type: ignore[union-attr]
        if at == len(data):
            base += at
            data, at = file.read1(_AT_ONCE), 0
            if not data:
                break
            continue
        if data[at : at + 1] == (b"]" if in_array else b"["):
            in_array, at = not in_array, at + 1
            continue
        number += 1
        begins, size, pieces, scanner = base + at, 0, [], _ValueEnd()
        while (end := scanner.find(data, at)) is None and data:
            size += len(data) - at
            if size <= max_bytes:
                pieces.append(data[at:])
            base += len(data)
            data, at = file.read1(_AT_ONCE), 0
        if end is None and not scanner.is_scalar:
            yield from span(start, begins, base, Problem("record", number, "JSON that ends within a value", True, True))
            return
        end = end or 0
        size += end - at
        pieces.append(data[at:end])
        at = end
        if size > max_bytes:
            found: Document | Problem = Problem("record", number, TOO_LARGE.format(max_bytes), lost=True)
        else:
            try:
                found = json_document(b"".join(pieces), fields, encoding)
            except NoDocument as error:
                found = Problem("record", number, str(error))
        yield from span(start, begins, base + at, found)
        start = base + at
    if in_array:
        yield Span(start, base)
        reason = "a JSON array that is not closed"
        yield Span(base, base, problem=Problem("record", number, reason, lost=True, cut=True))
    else:
        yield Span(start, base)


class _ValueEnd:
    """Finds where a JSON value ends, piece by piece: by its brackets and strings, whatever else is in it."""

    def __init__(self):
        self.is_scalar = False
        self._depth = 0
        self._in_string = self._is_escaped = self._has_begun = False

    def find(self, data: bytes, at: int) -> int | None:
        """Where in `data` the value ends that begins at `at`, or goes on there; None if not in it."""
        if not self._has_begun:
            self._has_begun = True
            self.is_scalar = data[at : at + 1] not in (b"{", b"[", b'"')
            at += self.is_scalar
        if self.is_scalar:
            found = _SCALAR_END.search(data, at)
            return found.start() if found else None
        while at < len(data):
            if self._is_escaped:
                self._is_escaped, at = False, at + 1
            elif self._in_string:
                at = _STRING.match(data, at).end()  # type: ignore[union-attr]
                if at < len(data):
                    self._is_escaped = data[at] == 0x5C
                    self._in_string = self._is_escaped
                    at += 1
                    if not self._in_string and self._depth == 0:
                        return at
            elif found := _STRUCTURE.search(data, at):
                at = found.end()
                if found.group() == b'"':
                    self._in_string = True
                elif found.group() in (b"{", b"["):
                    self._depth += 1
                else:
                    self._depth -= 1
                    if self._depth <= 0:
                        return at
            else:
                return None
        return None
