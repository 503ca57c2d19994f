"""Next-sentence pairs by the rules of google-research/bert's create_pretraining_data.py.

Two differences, both on purpose: a label says what was done (the reference labels "random" even when it failed to find
another document), and a document that has neither a next sentence nor another document to draw from makes no pair
instead of one with an empty second segment.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SPECIALS = 3  # [CLS] A [SEP] B [SEP]


class Pair(NamedTuple):
    """Two segments of token ids, without special tokens, and whether the second is from another document."""

    first: np.ndarray
    second: np.ndarray
    is_random_next: bool


class TokenizedDocument(NamedTuple):
    """A document's identity and its sentences as arrays of token ids, none of them empty."""

    document_id: bytes
    sentences: Sequence[np.ndarray]


def document_pairs(
    index: int,
    documents: Sequence[TokenizedDocument],
    *,
    max_seq_length: int,
    short_seq_prob: float,
    rng: np.random.Generator,
) -> list[Pair]:
    """The pairs of one document of a pool.

    Args:
      index: which document.
      documents: the whole pool; random second segments come from its other documents.
      max_seq_length: tokens of a finished instance, with special tokens.
      short_seq_prob: probability that the document aims at a random shorter length.
      rng: seeded by the document, so that its pairs do not depend on what was made before it.
    """
    sentences = documents[index].sentences
    max_tokens = max_seq_length - _SPECIALS
    target = max_tokens
    if rng.random() < short_seq_prob:
        target = int(rng.integers(2, max_tokens + 1))
    pairs = []
    start = 0
    while start < len(sentences):
        end, length = start, 0
        while end < len(sentences) and length < target:
            length += len(sentences[end])
            end += 1
        first_end = start + (int(rng.integers(1, end - start)) if end - start >= 2 else 1)
        first = np.concatenate(sentences[start:first_end])
        second = None
        if end - start == 1 or rng.random() < 0.5:
            second = _random_segment(index, documents, target - len(first), rng)
        is_random_next = second is not None
        if is_random_next:
            end = first_end  # the sentences that were not used open the next chunk
        elif first_end < end:
            second = np.concatenate(sentences[first_end:end])
        if second is not None:
            pairs.append(Pair(*_truncate(first, second, max_tokens, rng), is_random_next))
        start = end
    return pairs


def _random_segment(
    index: int, documents: Sequence[TokenizedDocument], target: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Sentences of another document from a random start until `target` tokens, or None if there is no other."""
    if len(documents) < 2:
        return None
    other = int(rng.integers(0, len(documents) - 1))
    other += other >= index
    # With dupe_factor > 1 a pool can hold a document twice; two neighbours in hash order are the worst case.
    if documents[other].document_id == documents[index].document_id:
        others = [i for i, d in enumerate(documents) if d.document_id != documents[index].document_id]
        if not others:
            return None
        other = others[int(rng.integers(0, len(others)))]
    sentences = documents[other].sentences
    start = int(rng.integers(0, len(sentences)))
    end, length = start, 0
    while end < len(sentences) and (length < target or end == start):
        length += len(sentences[end])
        end += 1
    return np.concatenate(sentences[start:end])


def _truncate(
    first: np.ndarray, second: np.ndarray, max_tokens: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Drops tokens until both fit: always from the longer side (ties: the second), front or back by a fair coin.

    Which side loses how many is certain, only front or back is drawn, so a binomial replaces the token-wise loop.
    """
    excess = max(0, len(first) + len(second) - max_tokens)
    lead = len(first) - len(second)
    uneven = min(excess, abs(lead))
    even = excess - uneven
    drop_first = (uneven if lead > 0 else 0) + even // 2
    drop_second = (uneven if lead < 0 else 0) + (even + 1) // 2
    return _drop(first, drop_first, rng), _drop(second, drop_second, rng)


def _drop(tokens: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if count == 0:
        return tokens
    front = int(rng.binomial(count, 0.5))
    return tokens[front : len(tokens) - (count - front)]
