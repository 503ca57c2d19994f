"""Next-sentence instances as google-research/bert's create_pretraining_data.py makes them, in plain Python.

Written from the rules, one document and one token at a time, sharing no code with pipelines. A benchmark times it and
tests compare the statistics of what it makes. `LosslessReference` has the differences that
pipelines/instances/sentence_pairs.py lists.
"""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LosslessReference(Reference):
    """The same, but what does not fit opens the next pair.

    A sentence is (whether it is the rest of a longer one, its tokens).
    """

    begins_word: Callable[[int], bool]
    shortest_piece: int = 5

    def instances(self, documents: Sequence[list[list[int]]], rng: random.Random) -> list[Instance]:
        return super().instances([self._in_pieces(document) for document in documents], rng)

    def _in_pieces(self, document: list[list[int]]) -> list[tuple[bool, list[int]]]:
        longest = (self.max_seq_length - 3) // 2
        if len(document) == 1 and 2 * self.shortest_piece <= len(document[0]) <= longest:
            half = len(document[0]) // 2
            place = self._place(document[0], max(1, half // 2), half) or half
            return [(False, document[0][:place]), (True, document[0][place:])]
        pieces = []
        for sentence in document:
            is_rest = False
            while len(sentence) > longest:
                count = -(-len(sentence) // longest)
                size = -(-len(sentence) // count)
                place = self._place(sentence, max(1, size // 2), size) or size
                pieces.append((is_rest, sentence[:place]))
                sentence, is_rest = sentence[place:], True
            pieces.append((is_rest, sentence))
        return pieces

    def _place(self, sentence: list[int], low: int, high: int) -> int | None:
        """The last place from low to high where a word begins."""
        return next((place for place in range(high, low - 1, -1) if self.begins_word(sentence[place])), None)

    def _head(self, sentence: list[int], room: int) -> list[int]:
        """The sentence, or as much of it as there is room for; nothing if a piece of it would be too short."""
        if len(sentence) <= room:
            return sentence
        low, high = self.shortest_piece, min(room, len(sentence) - self.shortest_piece)
        return sentence[: self._place(sentence, low, high) or 0]

    def _pairs(self, documents, index: int, rng: random.Random) -> Iterator[tuple[list[int], list[int], bool]]:
        remaining = documents[index]
        most = self.max_seq_length - 3
        target = rng.randint(2, most) if rng.random() < self.short_seq_prob else most
        while remaining:
            chunk: list[list[int]] = []
            while len(chunk) < len(remaining) and sum(map(len, chunk)) < target:
                chunk.append(remaining[len(chunk)][1])
            last = chunk.pop()
            head = self._head(last, most - sum(map(len, chunk)))
            chunk += [head] if head else []
            end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
            first = [token for sentence in chunk[:end] for token in sentence]
            if len(chunk) == 1 or rng.random() < 0.5:
                is_rest = remaining[end][0] if end < len(remaining) else None
                yield first, self._random(documents, index, is_rest, target, first, rng), True
                remaining = remaining[end:]
            else:
                yield first, [token for sentence in chunk[end:] for token in sentence], False
                rest = [(True, last[len(head) :])] if 0 < len(head) < len(last) else []
                remaining = rest + remaining[len(chunk) :]

    def _random(self, documents, index, is_rest, target, first, rng: random.Random) -> list[int]:
        other = index
        while other == index:
            other = rng.randint(0, len(documents) - 1)
        document = documents[other]
        start = rng.randint(0, len(document) - 1)
        places = [*range(start, len(document)), *range(start - 1, -1, -1)]
        start = next((place for place in places if is_rest in (None, document[place][0])), start)
        room = self.max_seq_length - 3 - len(first)
        second: list[int] = []
        for _, sentence in document[start:]:
            head = self._head(sentence, room - len(second))
            if not head and not second:
                head = sentence[: self._place(sentence, 1, room) or room]
            second += head
            if len(second) >= target - len(first) or len(head) < len(sentence):
                break
        return second
