"""Measures pipelines.build_vocab on texts of more and more different words.

python -m benchmarks.vocabulary              some 10 minutes and 3 GB of disk on 2 cores

Each word is random letters and comes once, as numbers, names and misprints do in a crawl; docstrings of the installed
packages stand between them. 30,522 tokens, two processes.
"""

import os
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers.measured_process import measure

_MILLIONS = flags.DEFINE_multi_integer("million_words", [1, 10, 100], "Different words of the text, in millions.")
_WORDS_A_DOCUMENT = 1000
_LETTERS = 7
_SPACE = 26**_LETTERS
_FACTOR = 3_141_592_653  # has no divisor in common with 26: another word for every number


def _words(numbers: np.ndarray) -> np.ndarray:
    """Numbers [n] -> words and a space after each, uint8 [n, letters + 1]."""
    drawn = numbers.astype(np.uint64) * np.uint64(_FACTOR) % np.uint64(_SPACE)
    digits = drawn[:, None] // np.uint64(26) ** np.arange(_LETTERS, dtype=np.uint64) % np.uint64(26)
    return np.pad(digits.astype(np.uint8) + ord("a"), ((0, 0), (0, 1)), constant_values=ord(" "))


def _write_corpus(path: str, count: int, docstrings: list[bytes]) -> None:
    with open(path, "wb") as file:
        for start in range(0, count, _WORDS_A_DOCUMENT):
            file.write(docstrings[start // _WORDS_A_DOCUMENT % len(docstrings)] + b"\n")
            file.write(_words(np.arange(start, start + _WORDS_A_DOCUMENT)).tobytes() + b"\n\n")


def _measured():
    before, docstrings = None, [text.encode() for text in real_text.docstrings()]
    for millions in _MILLIONS.value:
        with tempfile.TemporaryDirectory() as folder:
            corpus = os.path.join(folder, "corpus.txt")
            _write_corpus(corpus, millions * 1_000_000, docstrings)
            megabytes = os.path.getsize(corpus) / 1e6
            output = ("--output", os.path.join(folder, "vocab.txt"))
            values = measure("pipelines.build_vocab", "--input", corpus, *output, "--direct_num_workers=2")
        text, peak = "{peak_gigabytes:.2f} GB in {seconds:.0f} s", values["peak_gigabytes"]
        if before:
            text += ", {bytes_a_word:+.0f} bytes for each different word more"
            values["bytes_a_word"] = (peak - before[1]) / (millions - before[0]) * 1000
        yield results_file.line(f"{millions:,} million different words, {megabytes:,.0f} MB", text, **values)
        before = millions, peak


def main(_) -> None:
    results_file.save_lines("vocabulary", "text to vocabulary", _measured())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
