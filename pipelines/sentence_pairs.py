"""Next-sentence pairs by the rules of google-research/bert's create_pretraining_data.py.

Two differences, both on purpose: a label says what was done (the reference labels "random" even when it failed to find
another document), and a document that has neither a next sentence nor another document to draw from makes no pair
instead of one with an empty second segment.
"""

import bisect
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

_SPECIALS = 3  # [CLS] A [SEP] B [SEP]
_DRAWN_AT_ONCE = 4096


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
      first_start, first_end, second_start, second_end: the segments.
      is_random_next: 1 if the second segment is from another document.
      document: which document the first segment is from.
    """

    first_start: np.ndarray
    first_end: np.ndarray
    second_start: np.ndarray
    second_end: np.ndarray
    is_random_next: np.ndarray
    document: np.ndarray

    def __len__(self) -> int:
        return len(self.first_start)

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
        target = max_tokens
        if uniform() < short_seq_prob:
            target = 2 + int(uniform() * (max_tokens - 1))
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
    pairs = Pairs(*np.array(rows, np.int64).reshape(-1, 6).T)
    return _truncate(pairs, max_tokens, rng)


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
    other = int(uniform() * (count - 1))
    other += other >= index
    # With dupe_factor > 1 a pool can hold a document twice.
    if pool.identities[other] == pool.identities[index]:
        others = [i for i, identity in enumerate(pool.identities) if identity != pool.identities[index]]
        return others[int(uniform() * len(others))] if others else None
    return other


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
