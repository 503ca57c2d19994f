"""Real text that is on every machine that has this project's environment: docstrings, and Django's translations."""

import importlib.util
import pathlib
import re

from quickstart import corpus

_TRANSLATION = re.compile(r'^(?:msgstr(?:\[\d\])? )?"(.+)"$', re.MULTILINE)


def english_paragraphs() -> list[str]:
    """Paragraphs of the docstrings of the installed packages, about 28 MB."""
    return [paragraph for _, text in corpus.gather() for paragraph in text.split("\n")]


def translations() -> list[str]:
    """Lines of Django's interface in a hundred languages, about 4 MB; half of them hold a character off ASCII."""
    root = pathlib.Path(importlib.util.find_spec("django").origin).parent
    lines: dict[str, None] = {}
    for path in sorted(root.rglob("*.po")):
        for line in _TRANSLATION.findall(path.read_text(encoding="utf-8")):
            lines[line.replace("\\n", " ").replace('\\"', '"')] = None
    return list(lines)
