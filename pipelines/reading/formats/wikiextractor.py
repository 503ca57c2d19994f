"""WikiExtractor's output: a document in each <doc ...>, without the title, which is no sentence."""

import html
import re
from collections.abc import Iterator

from pipelines.reading.formats.lines import Line, Lines
from pipelines.reading.formats.plain_text import span
from pipelines.reading.outcomes import Problem, Span

_TITLE = re.compile(r'\btitle="(.*)"')


def wiki_documents(lines: Lines) -> Iterator[Span]:
    """What stands between <doc ...> and </doc>. It belongs to the part in which its <doc begins."""
    document: list[Line] = []
    stray: Line | None = None  # the first line of text outside of a document
    size = -1
    start = 0 if lines.start == 0 else None  # of what is not yielded yet; None before the first <doc of the part
    end = None
    for line in lines:
        if line.data.startswith(b"<doc "):
            if start is not None and (unfinished := document[0] if document else stray):
                yield from span(start, unfinished.offset, line.offset, _unfinished(lines, document, unfinished))
                start = line.offset
            document, stray, size = [line], None, -1
            if lines.is_past(line.offset):
                end, document = line.offset, []
                break
            start = line.offset if start is None else start
        elif start is None:
            if lines.is_past(line.offset):
                return
        elif not document:
            stray = stray or (line if line.data.strip() else None)
        elif line.data.rstrip() == b"</doc>":
            found = _text(lines, document, size)
            if found == "":  # an article may be only a title
                yield Span(start, lines.offset)
            else:
                yield from span(start, document[0].offset, lines.offset, found)
            document, start = [], lines.offset
        else:
            size += len(line.data) + 1 + (0 if line.is_whole else lines.max_bytes)
            if size <= lines.max_bytes:
                document.append(line)
    if start is None:
        return
    end = lines.offset if end is None else end
    if unfinished := document[0] if document else stray:
        yield from span(start, unfinished.offset, end, _unfinished(lines, document, unfinished))
    else:
        yield Span(start, end)


def _unfinished(lines: Lines, document: list[Line], line: Line) -> Problem:
    return lines.problem(line, "a <doc> without </doc>" if document else "text outside of <doc>")


def _text(lines: Lines, document: list[Line], size: int) -> str | Problem:
    if size > lines.max_bytes:
        return lines.too_large(document[0])
    text = lines.text(document)
    if isinstance(text, Problem):
        return text
    opening, _, text = text.partition("\n")
    title = _TITLE.search(opening)
    first, _, rest = html.unescape(text).partition("\n")
    return rest.strip() if title and first == html.unescape(title.group(1)) else f"{first}\n{rest}".strip()
