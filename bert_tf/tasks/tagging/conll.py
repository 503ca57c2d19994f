"""CoNLL files: a word a line, an empty line behind a sentence; CoNLL-2003, CoNLL-U, CoNLL-U Plus and their kin.

Columns are separated by tabs where a line has one, else by spaces; no other character separates, so that a no-break
space stays in its word. https://universaldependencies.org/format.html
"""

import collections
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging import schemes

ENDINGS = (".conll", ".txt", ".conllu", ".conllup", ".iob", ".iob2", ".bio")
AUTO = "auto"
_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_GLOBAL_COLUMNS = "# global.columns ="
_DOCUMENT = "-DOCSTART-"
_ID = re.compile(r"[0-9]+")
_RANGE, _EMPTY = re.compile(r"[0-9]+-[0-9]+"), re.compile(r"[0-9]+\.[0-9]+")
_BOUND_2012 = re.compile("#(begin|end) document")
_TEXT = re.compile(r"# ?text ?= ?(.*)")


class _Line(NamedTuple):
    number: int
    text: str
    cells: list[str]


class _Columns(NamedTuple):
    """Columns of the words and the tags; whether the first column numbers the words."""

    word: int
    tag: int
    has_ids: bool


def read(file, path: str, *, word_column: int | str, tag_column: int | str, labelled: bool) -> Iterator[dict]:
    """Sentences: {"place", "words"}, with "tags" if they are labelled, "text" where a comment has it, and "skipped".

    Comments, -DOCSTART- lines, and CoNLL-U's multiword (1-2) and empty (1.1) lines are skipped and counted. In files
    with numbered words every line that begins with "#" is a comment. In other files a line before a sentence is one, if
    its number of columns differs, or if its word is "#" and its tag occurs nowhere else.

    Args:
      file: opened with newline="".
      path: for errors.
      word_column: a number, counted from 0 or the end, or a name of CoNLL-U; "auto" is the first, or the second where
        the first one numbers the words.
      tag_column: the same for the tags.
      labelled: whether there are tags.

    Raises:
      InputError: naming the line: without a word or tag, or with another number of columns than its sentence.
    """
    blocks = list(_blocks(file))
    bodies = [body for lines in blocks if (body := [line for line in lines if line.text[0] != "#"])]
    heads = [line.text for line in blocks[0] if line.text.startswith(_GLOBAL_COLUMNS)] if blocks else []
    names = heads[0].removeprefix(_GLOBAL_COLUMNS).split() if heads else []
    columns = _columns(bodies, names, path, word_column, tag_column, labelled)
    known = {line.cells[columns.tag] for body in bodies for line in body if _has(line, columns.tag)}
    width = len(bodies[0][0].cells) if bodies else 0
    skipped: collections.Counter = collections.Counter()  # since the last sentence
    for lines in blocks:
        place, text, rows = f"{path}:{lines[0].number}", None, []
        body = next((line for line in lines if line.text[0] != "#"), None)
        width = len(body.cells) if body else width
        for line in lines:
            if line.text[0] == "#" and not rows and (columns.has_ids or not _is_word(line, columns.tag, width, known)):
                skipped["comment lines skipped"] += 1
                found = _TEXT.fullmatch(line.text)
                text = found[1] if found else text
            elif line.cells[0] == _DOCUMENT:
                skipped["-DOCSTART- lines skipped"] += 1
            elif columns.has_ids and _RANGE.fullmatch(line.cells[0]):
                skipped["multiword lines (1-2) skipped"] += 1
            elif columns.has_ids and _EMPTY.fullmatch(line.cells[0]):
                skipped["lines of empty nodes (1.1) skipped"] += 1
            else:
                _check(line, (rows or [line])[0], path, columns, labelled)
                rows.append(line)
        if rows:
            example: dict = {"place": place, "words": [line.cells[columns.word] for line in rows]}
            example |= {"tags": [line.cells[columns.tag] for line in rows]} if labelled else {}
            yield example | ({"text": text} if text else {}) | ({"skipped": dict(skipped)} if skipped else {})
            skipped.clear()


def _blocks(file) -> Iterator[list[_Line]]:
    """Lines between empty ones."""
    lines: list[_Line] = []
    for number, line in enumerate([*file, ""], start=1):
        text = line.rstrip("\r\n")
        if text.strip(" \t"):
            cells = text.split("\t") if "\t" in text else re.split(" +", text.strip(" "))
            lines.append(_Line(number, text, [cell.strip(" ") for cell in cells]))
        elif lines:
            yield lines
            lines = []


def _has(line: _Line, column: int) -> bool:
    return -len(line.cells) <= column < len(line.cells)


def _is_word(line: _Line, tag: int, width: int, known: set[str]) -> bool:
    """Whether a line that begins with "#" before a sentence is a word of it."""
    if _BOUND_2012.match(line.text):
        return False
    if len(line.cells) != width:
        return False
    return line.cells[0] != "#" or width == 1 or (_has(line, tag) and line.cells[tag] in known)


def _is_numbered(body: Sequence[_Line], width: int) -> bool:
    """Whether the first column numbers the words of a sentence, 1, 2, 3 ...

    Words may be numbers too. If tags of entities follow in a file of two columns, they are words.
    """
    words = [line.cells for line in body if not any(p.fullmatch(line.cells[0]) for p in (_RANGE, _EMPTY))]
    numbers = [cells[0] for cells in words if _ID.fullmatch(cells[0])]
    counts_up = numbers == [str(n + 1) for n in range(len(numbers))]
    if not numbers or not counts_up or [cells[0] for cells in words[:2]] != numbers[:2]:
        return False
    return width > 2 or not schemes.names_entities(cells[-1] for cells in words)


def _columns(
    bodies: Sequence[list[_Line]],
    names: Sequence[str],
    path: str,
    word_column: int | str,
    tag_column: int | str,
    labelled: bool,
) -> _Columns:
    # One word alone may be the number 1.
    several = [body for body in bodies if len(body) > 1] or bodies
    width = len(several[0][0].cells) if several else 0
    numbered = sum(_is_numbered(body, width) for body in several) > len(several) / 2
    has_ids = numbered and (len(several[0]) > 1 or width == len(_CONLLU)) and width > 1 + labelled
    if not names and has_ids and width == len(_CONLLU):
        names = _CONLLU
    if has_ids and labelled and names == _CONLLU and tag_column in (-1, "-1"):
        raise InputError(
            f"{path}: expected data.tag_column to name a column of CoNLL-U, such as UPOS. Received: -1, its MISC."
        )

    def number(column: int | str, field: str) -> int:
        if column in names:
            return list(names).index(str(column))
        try:
            return int(column)
        except ValueError:
            allowed = f"a number or one of {', '.join(names)}" if names else "a number, since the columns have no names"
            raise InputError(f"{path}: expected data.{field} to be {allowed}. Received: {column!r}.") from None

    default: int | str = "FORM" if "FORM" in names else int(has_ids)
    word = number(default if word_column == AUTO else word_column, "word_column")
    return _Columns(word, number(tag_column, "tag_column") if labelled else -1, has_ids)


def _check(line: _Line, first: _Line, path: str, columns: _Columns, labelled: bool) -> None:
    """Refuses a line of a word that is not what it should be."""
    place, cells, shown = f"{path}:{line.number}", line.cells, line.text.strip(" \t")
    if labelled and len(cells) < 2:
        raise InputError(f"{place}: expected a word and its tag. Received: {shown!r}.")
    if columns.has_ids and not _ID.fullmatch(cells[0]):
        raise InputError(f"{place}: expected the number of a word, as other lines have. Received: {cells[0]!r}.")
    if len(cells) != len(first.cells):
        raise InputError(
            f"{place}: expected {len(first.cells)} columns, as line {first.number} has. Received {len(cells)}: "
            f"{shown!r}."
        )
    for column, field in ((columns.word, "word_column"), (columns.tag, "tag_column"))[: 1 + labelled]:
        if not _has(line, column):
            raise InputError(f"{place}: expected the column data.{field}={column}. Received {len(cells)} columns.")
    if not cells[columns.word]:
        raise InputError(f"{place}: expected a word and its tag. Received: {shown!r}.")
    if labelled and not cells[columns.tag]:
        raise InputError(f"{place}: expected a word and its tag. Received no tag.")
