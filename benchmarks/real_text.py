"""Real text that is on every machine that has this project's environment: docstrings, and Django's translations."""

import importlib.util
import pathlib
import random
import re
from collections.abc import Iterator

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


def recombined_documents(megabytes: float, seed: int = 0) -> Iterator[str]:
    """As much English as one likes: real paragraphs in new documents, each with as many as some real one has.

    There is not enough prose on a machine for a benchmark of gigabytes, and repeated documents would be dropped as
    duplicates.
    """
    documents = [text.split("\n") for _, text in corpus.gather()]
    paragraphs = [paragraph for document in documents for paragraph in document]
    rng = random.Random(seed)
    size = 0
    while size < megabytes * 1e6:
        text = "\n".join(rng.choices(paragraphs, k=len(rng.choice(documents))))
        size += len(text.encode()) + 2
        yield text
