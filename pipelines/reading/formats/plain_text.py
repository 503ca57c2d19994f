"""Plain text: a document is the lines up to a blank one, a line, or the whole file."""

from collections.abc import Iterator

from pipelines.reading.formats.lines import Line, Lines
from pipelines.reading.outcomes import Document, Problem, Span


def blocks(lines: Lines) -> Iterator[Span]:
    """Documents separated by lines of nothing but spaces.

    A document belongs to the part in which the blank line before it begins; the first one to the first part.
    """
    block: list[Line] = []
    size = -1  # of the lines with a line break between them
    start = 0 if lines.start == 0 else None  # of what is not yielded yet; None before the first blank line of the part
    each_line = iter(lines)
    while True:
        if start is not None and not block:
            before = lines.offset
            if documents := lines.plain_documents(b"\n\n"):
                if before > start:
                    yield Span(start, before)
                yield Span(before, lines.offset, documents)
                start = lines.offset
        line = next(each_line, None)
        if line is None:
            break
        if line.data.strip():
            size += len(line.data) + 1 + (0 if line.is_whole else lines.max_bytes)
            if start is not None and (size <= lines.max_bytes or not block):
                block.append(line)
            if start is None and lines.is_past(line.offset):
                return
            continue
        if start is None:
            start = lines.offset
        elif block:
            yield from _document(lines, block, size, start, lines.offset)
            start = lines.offset
        block, size = [], -1
        if lines.is_past(line.offset):
            break
    if start is not None:
        if block:
            yield from _document(lines, block, size, start, lines.offset)
        else:
            yield Span(start, lines.offset)


def _document(lines: Lines, block: list[Line], size: int, start: int, end: int) -> Iterator[Span]:
    found = lines.too_large(block[0], " without a blank line") if size > lines.max_bytes else lines.text(block)
    yield from span(start, block[0].offset, end, found)


def span(start: int, begins: int, end: int, found: str | Document | Problem) -> Iterator[Span]:
    """A document, with what stands before it from `start` on; or a problem, and what stands before it by itself."""
    if not isinstance(found, Problem):
        document = Document(found) if isinstance(found, str) else found
        yield Span(start, end, (document._replace(offset=begins),))
        return
    if begins > start:
        yield Span(start, begins)
    yield Span(begins, end, problem=found)


def single_lines(lines: Lines) -> Iterator[Span]:
    """Every line that is not blank is a document."""
    each_line = iter(lines)
    start = None
    while True:
        if start is not None or lines.start == 0:
            start = start or 0
            before = lines.offset
            if documents := lines.plain_documents(b"\n"):
                if before > start:
                    yield Span(start, before)
                yield Span(before, lines.offset, documents)
                start = lines.offset
        line = next(each_line, None)
        if line is None or lines.is_past(line.offset):
            break
        start = line.offset if start is None else start
        if line.data.strip():
            found = lines.text([line]) if line.is_whole and len(line.data) <= lines.max_bytes else lines.too_large(line)
            yield from span(start, line.offset, lines.offset, found)
            start = lines.offset
    if start is not None:
        yield Span(start, lines.offset if line is None else line.offset)


def whole_file(lines: Lines) -> Iterator[Span]:
    """The file is one document, unless it is blank."""
    document: list[Line] = []
    size = -1
    for line in lines:
        size += len(line.data) + 1 + (0 if line.is_whole else lines.max_bytes)
        if size <= lines.max_bytes or not document:
            document.append(line)
    if size > lines.max_bytes:
        yield Span(0, lines.offset, problem=lines.too_large(document[0]))
    elif any(line.data.strip() for line in document):
        yield from span(0, 0, lines.offset, lines.text(document))
    else:
        yield Span(0, lines.offset)
