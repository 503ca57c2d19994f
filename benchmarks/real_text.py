"""Real text that this project's environment contains: docstrings of packages, and Django's translations."""

import importlib.util
import pathlib
import random
import re
from collections.abc import Callable, Iterable, Iterator

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
    """English of any size: new documents of real paragraphs, 4 KB on average, as articles of Wikipedia.

    The packages have too little prose for a benchmark of gigabytes, and repeated documents would be dropped as
    duplicates. A document has as many paragraphs as six random docstrings, so lengths vary.
    """
    documents = [text.split("\n") for _, text in corpus.gather()]
    paragraphs = [paragraph for document in documents for paragraph in document]
    rng = random.Random(seed)
    return _drawn(megabytes, lambda: rng.choices(paragraphs, k=sum(map(len, rng.choices(documents, k=6)))))


def docstrings() -> list[str]:
    """The docstrings of the installed packages, some 40,000 documents, 28 MB."""
    return [text for _, text in corpus.gather()]


def long_documents(megabytes: float, seed: int = 0) -> Iterator[str]:
    """Documents of a hundred real paragraphs each, none of which is longer than 200 characters."""
    paragraphs = [line for text in docstrings() for line in text.split("\n") if len(line) <= 200]
    rng = random.Random(seed)
    return _drawn(megabytes, lambda: rng.choices(paragraphs, k=100))


def _drawn(megabytes: float, draw: Callable[[], list[str]]) -> Iterator[str]:
    """Documents of the paragraphs that `draw` returns, until they and the blank lines between them have the size."""
    size = 0
    while size < megabytes * 1e6:
        text = "\n".join(draw())
        size += len(text.encode()) + 2
        yield text


def head(lines: Iterable[str], megabytes: float) -> Iterator[str]:
    """The first lines, of this size at most."""
    size = 0
    for line in lines:
        size += len(line.encode())
        if size > megabytes * 1e6:
            return
        yield line


def modules() -> list[str]:
    """The docstrings of each module of the installed packages, as one document: long and short ones, 28 MB in all."""
    return [text for text in dict.fromkeys(map("\n".join, _by_module())) if text]


def mixed_documents() -> list[str]:
    """Each docstring of every second module as a document, and all docstrings of each other module as one."""
    mixed = (texts if number % 2 else ["\n".join(texts)] for number, texts in enumerate(_by_module()))
    return [text for texts in mixed for text in texts if text]


def _by_module() -> list[list[str]]:
    with corpus.processes() as pool:
        found = pool.map(corpus.docstrings_of, [path for _, path in corpus.python_files()], chunksize=64)
        return [list(map(corpus.prose, docstrings)) for docstrings in found]
