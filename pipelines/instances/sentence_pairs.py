"""Documents -> segments of instances: next-sentence pairs, pairs in order or swapped, or full sentences.

Next-sentence pairs follow google-research/bert's create_pretraining_data.py with two differences, both on purpose: a
label says what was done (the reference labels "random" even when it failed to find another document), and a document
that has neither a next sentence nor another document to draw from makes no pair instead of one with an empty segment.
"""

import bisect
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

METHODS = ("next_sentence", "sentence_order", "none")
_SPECIALS = 3  # [CLS] A [SEP] B [SEP]
_DRAWN_AT_ONCE = 4096
_DRAWS = 16  # of another document, before all are looked through


@dataclasses.dataclass(frozen=True)
class TokenPool:
    """The documents of a pool, all tokens one behind the other.

    Attributes:
      tokens: ids, int32 [tokens].
      sentences: where each sentence begins in `tokens`, and the end of the last; int64 [sentences + 1]. None is empty.
      documents: where each document begins in `sentences`, and the end of the last; int64 [documents + 1].
      identities: what two documents with the same text share.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    identities: Sequence[bytes]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Two segments each, as places in `TokenPool.tokens`; all int64 [pairs].

    Attributes:
      first_start, first_end, second_start, second_end: the segments; the second is empty if there is only one.
      label: 1 if the second segment is from another document, or if both are swapped.
      document: which document the first segment is from.
    """

    first_start: np.ndarray
    first_end: np.ndarray
    second_start: np.ndarray
    second_end: np.ndarray
    label: np.ndarray
    document: np.ndarray

    def __len__(self) -> int:
        return len(self.first_start)

    def lengths(self) -> np.ndarray:
        """Tokens of each finished instance, special tokens included."""
        second = self.second_end - self.second_start
        return self.first_end - self.first_start + second + np.where(second > 0, _SPECIALS, _SPECIALS - 1)

    def take(self, order: np.ndarray) -> "Pairs":
        """The pairs of the given numbers, in that order."""
        return Pairs(*(getattr(self, field.name)[order] for field in dataclasses.fields(self)))


def next_sentence_pairs(
    pool: TokenPool, *, max_seq_length: int, short_seq_prob: float, rng: np.random.Generator
) -> Pairs:
    """The pairs of all documents of a pool.

    Args:
      pool: random second segments come from its other documents.
      max_seq_length: tokens of a finished instance, with special tokens.
      short_seq_prob: probability that a document aims at a random shorter length.
      rng: the only source of chance.
    """
    max_tokens = max_seq_length - _SPECIALS
    bounds, documents = pool.sentences.tolist(), pool.documents.tolist()
    uniform = _uniforms(rng)
    rows: list[tuple[int, ...]] = []
    for index in range(len(documents) - 1):
        start, stop = documents[index], documents[index + 1]
        target = _target(max_tokens, short_seq_prob, uniform)
        while start < stop:
            # As many sentences as it takes to reach the target.
            end = bisect.bisect_left(bounds, bounds[start] + target, start + 1, stop)
            count = end - start
            first_end = start + 1 + (int(uniform() * (count - 1)) if count >= 2 else 0)
            segment = bounds[start], bounds[first_end]
            if count == 1 or uniform() < 0.5:
                other = _other_document(index, pool, uniform)
                if other is not None:
                    low, high = documents[other], documents[other + 1]
                    low += int(uniform() * (high - low))
                    wanted = max(1, target - (segment[1] - segment[0]))
                    high = bisect.bisect_left(bounds, bounds[low] + wanted, low + 1, high)
                    rows.append((*segment, bounds[low], bounds[high], 1, index))
                    start = first_end  # the sentences that were not used open the next chunk
                    continue
            if first_end < end:
                rows.append((*segment, bounds[first_end], bounds[end], 0, index))
            start = end
    return _truncate(_as_pairs(rows), max_tokens, rng)


def sentence_order_pairs(
    pool: TokenPool, *, max_seq_length: int, short_seq_prob: float, rng: np.random.Generator
) -> Pairs:
    """Two segments that follow each other in a document, swapped by a fair coin (Lan et al. 2019, ALBERT, 3.1).

    The arguments are those of `next_sentence_pairs`. A document of one sentence makes no pair, and a last sentence that
    is left alone is not used: ALBERT's own code pairs it with a random document and calls it swapped.
    """
    max_tokens = max_seq_length - _SPECIALS
    bounds, documents = pool.sentences.tolist(), pool.documents.tolist()
    uniform = _uniforms(rng)
    rows: list[tuple[int, ...]] = []
    for index in range(len(documents) - 1):
        start, stop = documents[index], documents[index + 1]
        target = _target(max_tokens, short_seq_prob, uniform)
        while stop - start >= 2:
            end = bisect.bisect_left(bounds, bounds[start] + target, start + 2, stop)
            first_end = start + 1 + int(uniform() * (end - start - 1))
            first, second = (bounds[start], bounds[first_end]), (bounds[first_end], bounds[end])
            rows.append((*second, *first, 1, index) if uniform() < 0.5 else (*first, *second, 0, index))
            start = end
    return _truncate(_as_pairs(rows), max_tokens, rng)


def full_sentences(pool: TokenPool, *, max_seq_length: int, separator: int) -> tuple[np.ndarray, Pairs]:
    """Rows of whole sentences one behind the other, across documents (Liu et al. 2019, RoBERTa, 4.2: FULL-SENTENCES).

    A sentence that is longer than a row is cut into rows.

    Args:
      pool: the documents, in the order in which they follow each other.
      max_seq_length: tokens of a finished instance, with [CLS] and [SEP].
      separator: the id that stands between documents.

    Returns:
      The pool's tokens with a separator behind every document but the last, and rows with an empty second segment.
    """
    max_tokens = max_seq_length - 2
    breaks = pool.sentences[pool.documents[1:-1]]
    tokens = np.insert(pool.tokens, breaks, separator)
    # A sentence is moved by the documents that end before it.
    ends_before = np.searchsorted(breaks, pool.sentences[:-1], side="right")
    starts = (pool.sentences[:-1] + ends_before).tolist()
    ends = (pool.sentences[1:] + ends_before).tolist()
    owner = (np.searchsorted(pool.documents, np.arange(len(starts)), side="right") - 1).tolist()
    rows: list[tuple[int, ...]] = []
    sentence, start = 0, 0
    while sentence < len(starts):
        start = max(start, starts[sentence])
        following = bisect.bisect_right(ends, start + max_tokens, sentence)
        end = ends[following - 1] if following > sentence else start + max_tokens
        rows.append((start, end, 0, 0, 0, owner[sentence]))
        sentence, start = following, end
    return tokens, _as_pairs(rows)


def _target(max_tokens: int, short_seq_prob: float, uniform: Callable[[], float]) -> int:
    """How many tokens a document's instances aim at: all that fit, or now and then a random shorter length."""
    return 2 + int(uniform() * (max_tokens - 1)) if uniform() < short_seq_prob else max_tokens


def _as_pairs(rows: list[tuple[int, ...]]) -> Pairs:
    return Pairs(*np.array(rows, np.int64).reshape(-1, 6).T)


def _uniforms(rng: np.random.Generator) -> Callable[[], float]:
    """Draws from [0, 1) one by one; asking the generator each time would take longer than all the rest."""

    def draws():
        while True:
            yield from rng.random(_DRAWN_AT_ONCE).tolist()

    return draws().__next__


def _other_document(index: int, pool: TokenPool, uniform: Callable[[], float]) -> int | None:
    """Another document than `index`, or None if there is no other."""
    count = len(pool.identities)
    if count < 2:
        return None
    # With dupe_factor > 1, or where duplicates stay, a pool can hold a document more than once.
    for _ in range(_DRAWS):
        other = int(uniform() * (count - 1))
        other += other >= index
        if pool.identities[other] != pool.identities[index]:
            return other
    others = [i for i, identity in enumerate(pool.identities) if identity != pool.identities[index]]
    return others[int(uniform() * len(others))] if others else None


def _truncate(pairs: Pairs, max_tokens: int, rng: np.random.Generator) -> Pairs:
    """Drops tokens until both fit: always from the longer side (ties: the second), front or back by a fair coin.

    Which side loses how many is certain, only front or back is drawn, so a binomial replaces the token-wise loop.
    """
    first, second = pairs.first_end - pairs.first_start, pairs.second_end - pairs.second_start
    excess = np.maximum(0, first + second - max_tokens)
    lead = first - second
    uneven = np.minimum(excess, np.abs(lead))
    even = excess - uneven
    first_drop = np.where(lead > 0, uneven, 0) + even // 2
    second_drop = np.where(lead < 0, uneven, 0) + (even + 1) // 2
    first_front, second_front = rng.binomial(first_drop, 0.5), rng.binomial(second_drop, 0.5)
    return dataclasses.replace(
        pairs,
        first_start=pairs.first_start + first_front,
        first_end=pairs.first_end - (first_drop - first_front),
        second_start=pairs.second_start + second_front,
        second_end=pairs.second_end - (second_drop - second_front),
    )
