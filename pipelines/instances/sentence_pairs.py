"""Documents -> segments of instances: next-sentence pairs, pairs in order or swapped, or full sentences.

Next-sentence pairs follow google-research/bert's create_pretraining_data.py with three differences, all on purpose:

- A label says what was done. The reference labels "random" even when it failed to find another document.
- A document that has neither a next sentence nor another document to draw from makes no pair, instead of one with an
  empty segment.
- No token of a document is lost. The reference truncates a pair that is too long, on English prose by half a sentence.
  Here, what does not fit opens the next pair; only a random second segment is truncated, which is a copy. A sentence of
  more than half a row is cut into pieces, and so is the only sentence of a document.
"""

import bisect
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.instances.token_pool import TokenPool, cut_sentences, end_that_fits, middle

METHODS = ("next_sentence", "sentence_order", "none")
_SPECIALS = 3  # [CLS] A [SEP] B [SEP]
_DRAWN_AT_ONCE = 4096
_DRAWS = 16  # of another document, before all are looked through


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

    def tokens_used(self, method: str) -> int:
        """Tokens of documents in these pairs, each counted once: random second segments are copies.

        Args:
          method: "next_sentence" or "sentence_order", which made the pairs.
        """
        own = self.label == 0 if method == "next_sentence" else np.True_
        return int((self.first_end - self.first_start + (self.second_end - self.second_start) * own).sum())

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
    pool = cut_sentences(pool, max_tokens // 2)  # so that two always fit
    bounds, documents = pool.sentences.tolist(), pool.documents.tolist()
    has_other = len(set(pool.identities)) > 1
    uniform = _uniforms(rng)
    rows: list[tuple[int, ...]] = []

    def random_second(first_end: int, index: int, wanted: int, room: int) -> tuple[int, int]:
        """Sentences of another document: as many as are wanted, and no more tokens than there is room for."""
        other = _other_document(index, pool, uniform)
        low, high = documents[other], documents[other + 1]
        begin = low + int(uniform() * (high - low))
        if first_end < documents[index + 1]:
            # A segment that begins inside a sentence, where the next one does not, would give the label away.
            alike = pool.continues[first_end]
            found = max(pool.continues.find(alike, begin, high), pool.continues.rfind(alike, low, begin))
            begin = found if found >= 0 else begin
        end = bisect.bisect_left(bounds, bounds[begin] + wanted, begin + 1, high)
        most = bounds[begin] + room
        fitting = end_that_fits(pool, bounds[end - 1], bounds[end], most)
        return bounds[begin], fitting if fitting > bounds[begin] else pool.cut(bounds[begin] + 1, most)

    for index in range(len(documents) - 1):
        start, stop = documents[index], documents[index + 1]
        target = _target(max_tokens, short_seq_prob, uniform)
        begin = bounds[start]  # later inside of the sentence `start`, if its first part was used
        while start < stop:
            # As many sentences as it takes to reach the target; two where there is no random segment for a single one.
            fewest = min(start + (1 if has_other else 2), stop)
            end = bisect.bisect_left(bounds, begin + target, fewest, stop)
            chunk_end = end_that_fits(pool, bounds[end - 1], bounds[end], begin + max_tokens)
            end -= chunk_end == bounds[end - 1]
            count = end - start
            first_end = start + 1 + (int(uniform() * (count - 1)) if count >= 2 else 0)
            first = begin, bounds[first_end]
            if has_other and (count == 1 or uniform() < 0.5):
                length = first[1] - first[0]
                second = random_second(first_end, index, max(1, target - length), max_tokens - length)
                rows.append((*first, *second, 1, index))
                start, begin = first_end, first[1]  # the sentences that were not used open the next chunk
                continue
            if count > 1:
                rows.append((*first, first[1], chunk_end, 0, index))
            elif chunk_end - begin >= 2:
                half = middle(pool, begin, chunk_end)
                rows.append((begin, half, half, chunk_end, 0, index))
            start, begin = end - (chunk_end < bounds[end]), chunk_end
    return _as_pairs(rows)


def sentence_order_pairs(
    pool: TokenPool, *, max_seq_length: int, short_seq_prob: float, rng: np.random.Generator
) -> Pairs:
    """Two segments that follow each other in a document, swapped by a fair coin (Lan et al. 2019, ALBERT, 3.1).

    The arguments are those of `next_sentence_pairs`. Segments are whole sentences where two of them fit. Where one is
    cut, the next pair begins inside of it, and so do both of its segments: if only one did, it would be the second. A
    last sentence that is alone joins the pair before it, or is cut in two. ALBERT's own code pairs it with a random
    document and calls it swapped.
    """
    max_tokens = max_seq_length - _SPECIALS
    pool = cut_sentences(pool, max_tokens)
    bounds, documents = pool.sentences.tolist(), pool.documents.tolist()
    uniform = _uniforms(rng)
    rows: list[tuple[int, ...]] = []

    def between(begin: int, chunk_end: int, start: int, end: int) -> int:
        """Where the second segment begins."""
        is_rest = begin > bounds[start]
        if is_rest and bounds[start + 1] - begin >= 2:
            return middle(pool, begin, min(bounds[start + 1], chunk_end))
        choices: Sequence[int] = range(start + 1, end)
        if 1 in pool.continues[start:end]:
            choices = [i for i in choices if pool.continues[i] == pool.continues[start]] or choices
        return bounds[choices[int(uniform() * len(choices))]] if choices else middle(pool, begin, chunk_end)

    for index in range(len(documents) - 1):
        start, stop = documents[index], documents[index + 1]
        target = _target(max_tokens, short_seq_prob, uniform)
        begin = bounds[start]  # later inside of the sentence `start`, if its first part was used
        while start < stop:
            fewest = min(start + (1 if begin > bounds[start] else 2), stop)
            end = bisect.bisect_left(bounds, begin + target, fewest, stop)
            end -= end > fewest and bounds[end] - begin > max_tokens
            if stop - end == 1:
                if bounds[stop] - begin <= max_tokens:
                    end = stop
                elif end > fewest:
                    end -= 1
            chunk_end = end_that_fits(pool, bounds[end - 1], bounds[end], begin + max_tokens)
            end -= chunk_end == bounds[end - 1]
            if chunk_end - begin >= 2:
                first_end = between(begin, chunk_end, start, end)
                first, second = (begin, first_end), (first_end, chunk_end)
                rows.append((*second, *first, 1, index) if uniform() < 0.5 else (*first, *second, 0, index))
            start, begin = end - (chunk_end < bounds[end]), chunk_end
    return _as_pairs(rows)


def full_sentences(pool: TokenPool, *, max_seq_length: int, separator: int) -> tuple[np.ndarray, Pairs]:
    """Rows of whole sentences one behind the other, across documents (Liu et al. 2019, RoBERTa, 4.2: FULL-SENTENCES).

    A sentence that is longer than a row is cut into rows, where words begin.

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
        if following > sentence:
            end = ends[following - 1]
        else:
            moved = owner[sentence]  # by the separators in front
            end = pool.cut(start + max_tokens // 2 - moved, start + max_tokens - moved) + moved
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


def _other_document(index: int, pool: TokenPool, uniform: Callable[[], float]) -> int:
    """Another document than `index`, of a pool that has one."""
    # With dupe_factor > 1, or where duplicates stay, a pool can hold a document more than once.
    count = len(pool.identities)
    for _ in range(_DRAWS):
        other = int(uniform() * (count - 1))
        other += other >= index
        if pool.identities[other] != pool.identities[index]:
            return other
    others = [i for i, identity in enumerate(pool.identities) if identity != pool.identities[index]]
    return others[int(uniform() * len(others))]
