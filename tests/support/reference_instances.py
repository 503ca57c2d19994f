"""Next-sentence instances as google-research/bert's create_pretraining_data.py makes them, in plain Python.

Written from the rules, one document and one token at a time, sharing no code with pipelines. A benchmark times it and
tests compare the statistics of what it makes.
"""

import dataclasses
import random
from collections.abc import Iterator, Sequence


@dataclasses.dataclass
class Instance:
    """One training example: ids after masking, and what was hidden where."""

    token_ids: list[int]
    type_ids: list[int]
    is_random_next: bool
    masked_positions: list[int]
    masked_ids: list[int]
    first_length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """Settings of the script, and the ids it needs."""

    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1
    cls: int
    sep: int
    mask: int
    vocab_size: int

    def instances(self, documents: Sequence[list[list[int]]], rng: random.Random) -> list[Instance]:
        """One pass over documents of tokenized sentences."""
        documents = list(documents)
        rng.shuffle(documents)
        made = []
        for index in range(len(documents)):
            for first, second, is_random in self._pairs(documents, index, rng):
                made.append(self._finished(first, second, is_random, rng))
        rng.shuffle(made)
        return made

    def _pairs(self, documents, index: int, rng: random.Random) -> Iterator[tuple[list[int], list[int], bool]]:
        document = documents[index]
        most = self.max_seq_length - 3
        target = most
        if rng.random() < self.short_seq_prob:
            target = rng.randint(2, most)
        chunk: list[list[int]] = []
        length = 0
        position = 0
        while position < len(document):
            chunk.append(document[position])
            length += len(document[position])
            if position == len(document) - 1 or length >= target:
                end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                first = [token for sentence in chunk[:end] for token in sentence]
                second: list[int] = []
                is_random = len(chunk) == 1 or rng.random() < 0.5
                if is_random:
                    wanted = target - len(first)
                    for _ in range(10):
                        other = rng.randint(0, len(documents) - 1)
                        if other != index:
                            break
                    start = rng.randint(0, len(documents[other]) - 1)
                    for sentence in documents[other][start:]:
                        second += sentence
                        if len(second) >= wanted:
                            break
                    position -= len(chunk) - end
                else:
                    second = [token for sentence in chunk[end:] for token in sentence]
                self._truncate(first, second, most, rng)
                yield first, second, is_random
                chunk, length = [], 0
            position += 1

    @staticmethod
    def _truncate(first: list[int], second: list[int], most: int, rng: random.Random) -> None:
        while len(first) + len(second) > most:
            longer = first if len(first) > len(second) else second
            if rng.random() < 0.5:
                del longer[0]
            else:
                longer.pop()

    def _finished(self, first: list[int], second: list[int], is_random: bool, rng: random.Random) -> Instance:
        token_ids = [self.cls, *first, self.sep, *second, self.sep]
        type_ids = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        candidates = [i for i, token in enumerate(token_ids) if token not in (self.cls, self.sep)]
        rng.shuffle(candidates)
        count = min(self.max_predictions_per_seq, max(1, round(len(token_ids) * self.masked_lm_prob)))
        positions = sorted(candidates[:count])
        hidden = [token_ids[i] for i in positions]
        for i in positions:
            if rng.random() < 0.8:
                token_ids[i] = self.mask
            elif rng.random() < 0.5:
                token_ids[i] = rng.randint(0, self.vocab_size - 1)
        return Instance(token_ids, type_ids, is_random, positions, hidden, len(first))
