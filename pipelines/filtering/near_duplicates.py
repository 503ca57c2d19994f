"""MinHash with bands: documents that share most of their 5-word shingles get a key in common (Broder 1997).

All numbers are hashes modulo 2^64 or 2^32, so they are the same on every machine.
"""

import functools
import re
import zlib

import numpy as np

_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_SHINGLE = 5  # words; ideographs count as words
_HASHES = 128
_SHINGLES_AT_ONCE = 4096
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_rng = np.random.Generator(np.random.PCG64(0x5EED))
_FACTORS = _rng.integers(0, 2**63, _HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
_TERMS = _rng.integers(0, 2**63, _HASHES, np.uint64)


def shingles(text: str) -> np.ndarray:
    """A 64-bit hash of each run of five words, case and punctuation aside; uint64, sorted, each once."""
    words = _word_hashes(text)
    return np.unique(_runs(words, min(_SHINGLE, len(words))))


def ngram_hashes(text: str, words: int) -> np.ndarray:
    """A 64-bit hash of each run of so many words, case and punctuation aside; uint64, empty for a shorter text."""
    return _runs(_word_hashes(text), words)


def _word_hashes(text: str) -> np.ndarray:
    words = _WORD.findall(text.casefold())
    return _mixed(np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64))


def _runs(hashes: np.ndarray, width: int) -> np.ndarray:
    """A hash of each run of `width` hashes."""
    if not 0 < width <= len(hashes):
        return np.zeros(0, np.uint64)
    total = np.zeros(len(hashes) - width + 1, np.uint64)
    for offset in range(width):
        total = total * _MULTIPLIER + hashes[offset : offset + len(total)]
    return _mixed(total)


def signature(text: str) -> np.ndarray:
    """128 minima; two texts agree in a share of them that is the Jaccard similarity of their shingles. uint32 [128]."""
    found = shingles(text)
    minima = np.full(_HASHES, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(found), _SHINGLES_AT_ONCE):
        some = found[start : start + _SHINGLES_AT_ONCE, None]
        # Multiply-shift: the upper half of an odd multiple is a universal hash (Dietzfelbinger et al. 1997).
        minima = np.minimum(minima, (some * _FACTORS + _TERMS >> np.uint64(32)).astype(np.uint32).min(axis=0))
    return minima


@functools.cache
def bands_and_rows(threshold: float) -> tuple[int, int]:
    """How to cut a signature so that the least is found wrongly below the threshold and missed above it.

    Two texts of similarity s share a band of r rows with probability s^r, and one of b with 1 - (1 - s^r)^b.
    """
    s = (np.arange(1000) + 0.5) / 1000

    def wrong(cut):
        found = 1 - (1 - s ** cut[1]) ** cut[0]
        return np.where(s < threshold, found, 1 - found).mean()

    cuts = [(_HASHES // rows, rows) for rows in range(1, _HASHES + 1)]
    return min(cuts, key=wrong)


def band_keys(text: str, threshold: float) -> np.ndarray:
    """One 64-bit key a band: near duplicates have one in common, almost surely. uint64 [bands]; none without words."""
    if not _WORD.search(text):
        return np.zeros(0, np.uint64)
    bands, rows = bands_and_rows(threshold)
    parts = signature(text)[: bands * rows].reshape(bands, rows).astype(np.uint64)
    keys = np.arange(1, bands + 1, dtype=np.uint64)
    for row in range(rows):
        keys = _mixed(keys * _MULTIPLIER + parts[:, row])
    return keys


def _mixed(values: np.ndarray) -> np.ndarray:
    """A bijection that spreads every bit over all (the finalizer of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
