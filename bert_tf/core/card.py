"""Cards of data and models in Hugging Face's format: YAML front matter, then Markdown. Standard library only."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

NAME = "README.md"
_OPEN_LICENCE = "license:  # not known; the names are those of https://huggingface.co/docs/hub/repositories-licenses"


def card(title: str, front: Mapping[str, Any], licences: Mapping[str, int], sections: Sequence[tuple[str, str]]) -> str:
    """A card, the same text for the same arguments.

    >>> print(card("Rows", {"tags": ["bert_tf"]}, {"mit": 3}, [("Sources", "One file.")]))
    ---
    license: "mit"
    tags: ["bert_tf"]
    ---
    <BLANKLINE>
    # Rows
    <BLANKLINE>
    ## Sources
    <BLANKLINE>
    One file.
    <BLANKLINE>

    Args:
      title: of the page.
      front: fields of the front matter, without the licence. Every JSON value is YAML.
      licences: {licence: documents}; the front matter names one that all documents have, else the field is left open.
      sections: (heading, Markdown).
    """
    names = list(licences)
    is_known = len(names) == 1 and names[0] != UNKNOWN
    lines = ["---", f"license: {json.dumps(names[0])}" if is_known else _OPEN_LICENCE]
    lines += [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()]
    lines += ["---", "", f"# {title}", ""]
    for heading, text in sections:
        lines += [f"## {heading}", "", text, ""]
    return "\n".join(lines)


def with_licence_of(older: str, text: str) -> str:
    """A card whose open licence field is that of an older one, if that is filled in."""
    found = next((line for line in older.splitlines() if line.startswith("license:")), _OPEN_LICENCE)
    return text.replace(_OPEN_LICENCE, found, 1)


UNKNOWN = ""  # in place of a licence that is not known


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers with separators of thousands."""

    def line(cells: Sequence[Any]) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell) for cell in cells)
        return f"| {' | '.join(text.replace('|', chr(92) + '|').replace(chr(10), ' ') for text in shown)} |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def licence_section(licences: Mapping[str, int]) -> str:
    """What is known about the licences of documents."""
    if not set(licences) - {UNKNOWN}:
        return (
            "Not known. `--licence_field` of `pipelines.create_pretraining_data` takes them from the input. "
            "Check the licences of the sources, then fill in `license` above."
        )
    rows = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    return table(["licence", "documents"], [(name or "not known", count) for name, count in rows])
