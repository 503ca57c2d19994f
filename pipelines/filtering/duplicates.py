"""Paragraphs that many documents have, and near duplicates: which document keeps them, and which ones drop them.

Every document has keys: a hash for each paragraph, or one for each MinHash band. Of all documents with the same key,
the one with the smallest id keeps it, whatever the order of the input. For each other one a message goes to its pools,
which are a function of its id, so the text itself is grouped only once.
"""

import collections
import hashlib
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import numpy as np

from pipelines.filtering.cleaning import DocumentConfig
from pipelines.filtering.near_duplicates import band_keys
from pipelines.reading.documents import document_id
from pipelines.running.bundles import at_bundle_end

_ENTRY = np.dtype([("key", "<u8"), ("high", ">u8"), ("low", ">u8")])  # a key and the 16 bytes of a document's id
_ENTRIES_AT_ONCE = 1 << 20
_TEXT_A_BUCKET = 256e6  # bytes; a paragraph of some 200 takes 24 here
WHOLE = 0  # in place of a paragraph's key: the document itself


def paragraph_key(paragraph: str) -> int:
    """64 bits of a paragraph's content, never 0."""
    digest = hashlib.blake2b(paragraph.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) or 1


class FindDuplicates(beam.PTransform):
    """Lists of documents (str) -> (pool, bytes): what its documents drop; see `duplicates_by_document`.

    Args:
      config: which duplicates to look for.
      pools_of: the pools that a document of a given id goes to.
      text_bytes: estimated bytes of text.
    """

    def __init__(self, config: DocumentConfig, pools_of: Callable[[bytes], Iterable[str]], text_bytes: float):
        super().__init__()
        self._config, self._pools_of = config, pools_of
        self._buckets = max(8, int(text_bytes / _TEXT_A_BUCKET))

    def expand(self, documents):
        found = []
        if self._config.deduplicate_paragraphs:
            found.append(self._find(documents, "Paragraphs", _paragraph_keys, whole=False))
        if self._config.near_duplicates:
            threshold = self._config.near_duplicates
            found.append(self._find(documents, "NearDuplicates", lambda t: band_keys(t, threshold), whole=True))
        return found | "Duplicates" >> beam.Flatten(pipeline=documents.pipeline)

    def _find(self, documents, name, keys_of, *, whole):
        return (
            documents
            | f"{name}Keys" >> beam.ParDo(_AnnounceKeys(keys_of, self._buckets))
            | f"{name}Group" >> beam.GroupByKey()
            | f"{name}Choose" >> beam.ParDo(_ChooseDuplicates(self._pools_of, whole))
        )


def _paragraph_keys(text: str) -> list[int]:
    return [paragraph_key(line) for line in text.split("\n")]


class _AnnounceKeys(beam.DoFn):
    """Lists of documents -> (bucket, entries): many per element, since a runner has a cost for each element."""

    def __init__(self, keys_of, buckets: int):
        self._keys_of, self._buckets = keys_of, buckets

    def start_bundle(self):
        self._keys, self._ids, self._sizes = [], [], []
        self._count = 0

    def process(self, texts: list[str]):
        for text in texts:
            keys = np.asarray(self._keys_of(text), np.uint64)
            self._keys.append(keys)
            self._ids.append(document_id(text))
            self._sizes.append(len(keys))
            self._count += len(keys)
        if self._count > _ENTRIES_AT_ONCE:
            yield from self._flush()

    def finish_bundle(self):
        for element in self._flush():
            yield at_bundle_end(element)

    def _flush(self) -> Iterator[tuple[int, bytes]]:
        entries = np.empty(self._count, _ENTRY)
        if self._count:
            entries["key"] = np.concatenate(self._keys)
            ids = np.frombuffer(b"".join(self._ids), ">u8").reshape(-1, 2)
            entries["high"], entries["low"] = np.repeat(ids, self._sizes, axis=0).T
        self.start_bundle()
        bucket = entries["key"] % np.uint64(self._buckets)
        for number in np.unique(bucket).tolist():
            yield number, entries[bucket == number].tobytes()


class _ChooseDuplicates(beam.DoFn):
    def __init__(self, pools_of, whole: bool):
        self._pools_of, self._whole = pools_of, whole

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[str, bytes]]:
        entries = np.frombuffer(b"".join(element[1]), _ENTRY)
        entries = entries[np.lexsort((entries["low"], entries["high"], entries["key"]))]
        lost = entries[_is_duplicate(entries)].copy()
        if self._whole:
            lost["key"] = WHOLE
        by_pool = collections.defaultdict(list)
        for identity, of_document in _by_document(np.unique(lost)):
            for pool in self._pools_of(identity):
                by_pool[pool].append(of_document.tobytes())
        for pool, parts in sorted(by_pool.items()):
            yield pool, b"".join(parts)


def _is_duplicate(entries: np.ndarray) -> np.ndarray:
    """A mask over entries sorted by key and id: True where another entry of the key has a smaller id."""
    begins = np.ones(len(entries), bool)
    begins[1:] = entries["key"][1:] != entries["key"][:-1]
    winner = np.maximum.accumulate(np.where(begins, np.arange(len(entries)), 0))
    return (entries["high"] != entries["high"][winner]) | (entries["low"] != entries["low"][winner])


def _by_document(entries: np.ndarray) -> Iterator[tuple[bytes, np.ndarray]]:
    """(document id, its entries)."""
    entries = entries[np.lexsort((entries["low"], entries["high"]))]
    ids = np.stack([entries["high"], entries["low"]], axis=1).astype(">u8")
    begins = np.flatnonzero(np.any(ids[1:] != ids[:-1], axis=1)) + 1
    for start, of_document in zip([0, *begins], np.split(entries, begins), strict=True):
        if len(of_document):
            yield ids[start].tobytes(), of_document


def duplicates_by_document(duplicates: Iterable[bytes]) -> dict[bytes, set[int]]:
    """Document id -> keys of the paragraphs that it drops, or WHOLE."""
    entries = np.frombuffer(b"".join(duplicates), _ENTRY)
    return {identity: set(of_document["key"].tolist()) for identity, of_document in _by_document(entries)}


def without_duplicates(text: str, lost: set[int]) -> str | None:
    """The document without its duplicates, or None if it is one as a whole."""
    if WHOLE in lost:
        return None
    return "\n".join(line for line in text.split("\n") if paragraph_key(line) not in lost)
