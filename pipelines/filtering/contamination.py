"""Documents that share a run of words with evaluation texts, by hashes of n-grams (Brown et al. 2020, appendix C).

The hashes of the evaluation texts go to a file beside the shards, which every worker reads once: 8 bytes for each
n-gram, so 2 million words of evaluation take 16 MB.
"""

import dataclasses
import hashlib

import numpy as np

from bert_tf.core import records
from bert_tf.core.errors import InputError, StorageError
from pipelines.filtering.near_duplicates import ngram_hashes
from pipelines.reading.inputs import match_files
from pipelines.reading.outcomes import BytesRead
from pipelines.reading.readers import Format, read_part
from pipelines.running import files

_NAME = "excluded_ngrams.bin"


@dataclasses.dataclass(frozen=True)
class Excluded:
    """The n-grams of evaluation texts.

    Attributes:
      ngram: words.
      hashes: uint64, sorted, each once.
      texts: evaluation texts.
      short_texts: those of fewer words than an n-gram, which exclude nothing.
    """

    ngram: int
    hashes: np.ndarray
    texts: int
    short_texts: int

    def description(self) -> dict:
        """For dataset.json: what documents are excluded follows from it."""
        digest = hashlib.sha256(self.hashes.astype("<u8").tobytes()).hexdigest()
        return {
            "ngram": self.ngram,
            "texts": self.texts,
            "short_texts": self.short_texts,
            "ngrams": len(self.hashes),
            "sha256": digest,
        }

    def summary(self) -> str:
        """One line for the log."""
        short = f"; {self.short_texts:,} of fewer words exclude nothing" if self.short_texts else ""
        return f"--exclude: {len(self.hashes):,} n-grams of {self.ngram} words in {self.texts:,} texts{short}"

    def write(self, output_dir: str) -> str:
        """Writes the hashes among the work files of a job; returns the path."""
        path = files.join(output_dir, records.EXCHANGE, _NAME)
        files.write_bytes(path, self.hashes.astype("<u8").tobytes())
        return path


def read_excluded(patterns: list[str], ngram: int, file_format: Format) -> Excluded:
    """The n-grams of evaluation files.

    Raises:
      InputError: a glob matches nothing, a text cannot be read, or no text has an n-gram.
    """
    where = f"--exclude {','.join(patterns)}"
    try:
        inputs = match_files(patterns)
    except InputError as error:
        raise InputError(str(error).replace("--input", "--exclude")) from None
    hashes, texts, short = [np.zeros(0, np.uint64)], 0, 0
    for part in (part for file in inputs for part in file.parts()):
        for found in read_part(part, file_format):
            if isinstance(found, BytesRead):
                continue
            if not isinstance(found, list):
                raise InputError(
                    f"{where}: expected evaluation texts that can be read. Received {found.path}, {found.unit} "
                    f"{found.position}: {found.reason}."
                )
            for document in found:
                some = ngram_hashes(document.text, ngram)
                texts, short = texts + 1, short + (not len(some))
                hashes.append(some)
        hashes = [np.unique(np.concatenate(hashes))]
    if not len(hashes[0]):
        raise InputError(
            f"{where}: expected a text of at least {ngram} words (--exclude_ngram). Received {texts} shorter ones."
        )
    return Excluded(ngram, hashes[0], texts, short)


def load(path: str) -> np.ndarray:
    """The hashes that `Excluded.write` wrote."""
    data = files.read_bytes(path)
    if data is None:
        raise StorageError(f"{path}: expected what this job wrote there. Received: no such file.")
    return np.frombuffer(data, "<u8").astype(np.uint64)


def is_contaminated(text: str, ngram: int, excluded: np.ndarray) -> bool:
    """Whether a document shares an n-gram of words with the evaluation texts, case and punctuation aside.

    Args:
      text: of the document.
      ngram: words.
      excluded: uint64, sorted.
    """
    hashes = ngram_hashes(text, ngram)
    places = np.minimum(np.searchsorted(excluded, hashes), len(excluded) - 1)
    return bool((excluded[places] == hashes).any())
