"""Which rows of which shards make up which batch, by arithmetic alone: a function of (seed, batch).

A source is a folder's training shards. Its epoch e visits the shards in an order drawn from (seed, e), and the rows of
each in an order drawn from (seed, e, shard). That sequence is cut into as many equal stretches as there are readers,
and each reader repeats its own stretch without end. A batch has as many rows of each reader, and a reader takes its
share of every source. The rows of a source before batch b follow from b and the weights, so no state is saved, and
neither workers nor replicas change a batch. NumPy only: training reads the rows, bert_tf.trace names them.
"""

import fractions
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.core.errors import InputError, require
from bert_tf.core.stores import objects

_PHILOX_FACTORS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_PHILOX_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_PHILOX_ROUNDS = 10
_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow makes a key of a seed
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)


class Visit(NamedTuple):
    """A stretch of a shuffled shard."""

    shard: int
    epoch: int
    first: int  # row of the shuffled shard
    rows: int


class Record(NamedTuple):
    """A row of a batch: where it is stored."""

    source: int
    shard: str  # file name
    number: int  # in the shard


class Order:
    """The order of a source's rows.

    Args:
      path: the folder, for errors and paths.
      shards: name and examples of each training shard, as dataset.json has them.
      seed: of all orders.
      readers: parts of a batch; each reads another part of the rows.

    Raises:
      InputError: fewer examples than readers.
    """

    def __init__(self, path: str, shards: Sequence[dict], *, seed: int, readers: int = 1):
        self.shards = [shard for shard in shards if shard["examples"]]
        self._path, self._seed = path, seed
        self._examples = np.array([shard["examples"] for shard in self.shards], np.int64)
        self.examples = int(self._examples.sum())
        self.stretch = self.examples // readers  # rows of a reader in an epoch
        if not self.stretch:
            received = "none" if not self.shards else f"fewer than data.readers={readers}"
            raise InputError(f"data.train={path}: expected training examples. Received {received}.")

    def visits(self, reader: int, first_row: int) -> Iterator[Visit]:
        """What a reader reads from a row of its sequence on, without end."""
        epoch, begin = divmod(first_row, self.stretch)
        while True:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self.shards))
            ends = np.cumsum(self._examples[order])
            position, end = reader * self.stretch + begin, (reader + 1) * self.stretch
            for place in range(np.searchsorted(ends, position, "right"), len(order)):
                if position >= end:
                    break
                shard = int(order[place])
                first = position - (int(ends[place]) - int(self._examples[shard]))
                rows = min(int(ends[place]), end) - position
                yield Visit(shard, epoch, first, rows)
                position += rows
            epoch, begin = epoch + 1, 0

    def some_visits(self, reader: int, first_row: int, count: int) -> Iterator[Visit]:
        """The visits of `count` rows."""
        for visit in self.visits(reader, first_row):
            if count <= 0:
                return
            yield visit._replace(rows=min(visit.rows, count))
            count -= visit.rows

    def shuffle_seed(self, visit: Visit) -> np.ndarray:
        """int32 [2]: seed of the order of a shard's rows in an epoch."""
        rng = np.random.default_rng([self._seed, visit.epoch, visit.shard])
        return rng.integers(2**31, size=2).astype(np.int32)

    def numbers(self, visit: Visit) -> np.ndarray:
        """int64 [rows]: the visit's rows by their place in the shard, as TensorFlow's stateless draw orders them."""
        keys = stateless_int32(int(self._examples[visit.shard]), self.shuffle_seed(visit))
        return np.argsort(keys, kind="stable")[visit.first : visit.first + visit.rows]

    def path(self, visit: Visit) -> str:
        return objects.join(self._path, self.shards[visit.shard]["name"])


class Mixture:
    """Sources with their shares of each batch.

    Example, of two sources with 3 and 1 of every 4 rows:
      mixture = Mixture([("a", shards_a), ("b", shards_b)], weights=(0.75, 0.25), global_batch_size=32, seed=1)
      mixture.counts(0)  # [24, 8]

    Args:
      sources: (folder, its training shards).
      weights: of the sources, in any unit; () = their numbers of examples.
      global_batch_size: rows of a batch.
      seed: of all orders.
      readers: equal parts of a batch.

    Raises:
      InputError: the batch cannot be divided among the readers, the weights do not fit, or a source has too few rows.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Sequence[dict]]],
        *,
        global_batch_size: int,
        seed: int,
        weights: Sequence[float] = (),
        readers: int = 1,
    ):
        if global_batch_size % readers:
            raise InputError(
                f"train.global_batch_size={global_batch_size}: expected a multiple of data.readers={readers}."
            )
        self.rows, self._readers = global_batch_size // readers, readers  # rows: of a reader in a batch
        self.orders = [
            Order(path, shards, seed=_seed_of(seed, number), readers=readers)
            for number, (path, shards) in enumerate(sources)
        ]
        self._weights = whole_weights(weights or [order.examples for order in self.orders])
        self.names = source_names([path for path, _ in sources])

    @property
    def weights(self) -> list[float]:
        """Shares of the sources, which add up to 1."""
        return [weight / sum(self._weights) for weight in self._weights]

    def begins(self, batch: int) -> list[int]:
        """How many rows of each source a reader has read before a batch."""
        return shares(batch * self.rows, self._weights)

    def counts(self, batch: int) -> list[int]:
        """How many rows of each source a reader has in a batch."""
        return [end - begin for begin, end in zip(self.begins(batch), self.begins(batch + 1), strict=True)]

    def epochs(self, batches: int) -> dict[str, float]:
        """{name of a source: passes over its rows} of the first batches."""
        read = zip(self.names, self.begins(batches), self.orders, strict=True)
        return {name: rows / order.stretch for name, rows, order in read}

    def paths_of(self, first_batch: int, count: int, readers: range) -> list[list[str]]:
        """The shards of each source that hold some batches."""
        begins, ends = self.begins(first_batch), self.begins(first_batch + count)
        return [
            list(
                dict.fromkeys(
                    order.path(visit) for reader in readers for visit in order.some_visits(reader, begin, end - begin)
                )
            )
            for order, begin, end in zip(self.orders, begins, ends, strict=True)
        ]

    def records(self, batch: int) -> list[Record]:
        """The rows of a batch, in its order: reader by reader, source by source."""
        found = []
        for reader in range(self._readers):
            for source, (begin, count) in enumerate(zip(self.begins(batch), self.counts(batch), strict=True)):
                order = self.orders[source]
                for visit in order.some_visits(reader, begin, count):
                    name = order.shards[visit.shard]["name"]
                    found += [Record(source, name, number) for number in order.numbers(visit).tolist()]
        return found


def _seed_of(seed: int, source: int) -> int:
    """A source's own seed; the first one's is the run's, as before there were mixtures."""
    return int(np.random.default_rng([seed, source]).integers(2**32)) if source else seed


def split_digest(sources: Sequence[Sequence[dict]]) -> str:
    """A hash of what shards hold, source by source: others would continue another sequence of batches.

    Args:
      sources: the training shards of each folder, as dataset.json has them.
    """
    digests = [
        hashlib.sha256("".join(s["name"] + s["sha256"] for s in shards if s["examples"]).encode()).hexdigest()
        for shards in sources
    ]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Whole numbers in the ratios of the weights as they are written in decimals: exact on every machine.

    >>> whole_weights([0.75, 0.25])
    [3, 1]
    """
    exact = [fractions.Fraction(repr(weight)) for weight in weights]
    denominator = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * denominator) for weight in exact]
    return [weight // math.gcd(*whole) for weight in whole]


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """Divides a number by weights. With a growing number no share shrinks; each is exact to 1 + ln(number of weights).

    >>> shares(10, [7, 3]), shares(11, [7, 3])
    ([7, 3], [7, 4])
    """
    found, rest = [], sum(weights)
    for weight in weights[:-1]:
        found.append(count * weight // rest)
        count, rest = count - found[-1], rest - weight
    return [*found, count]


def temperature_weights(sizes: Sequence[float], temperature: float) -> list[float]:
    """Shares in proportion to size**temperature: 1 = by size, 0 = all alike (mmBERT: 0.7 at first, 0.3 at the end).

    >>> temperature_weights([900, 100], 0.5)
    [0.75, 0.25]

    Raises:
      InputError: a size or the temperature is out of range.
    """
    require(0 <= temperature <= 1, "a temperature must lie in [0, 1]", temperature)
    require(all(size > 0 for size in sizes), "the size of every source must be positive", list(sizes))
    powers = [size**temperature for size in sizes]
    return [power / sum(powers) for power in powers]


def source_names(paths: Sequence[str]) -> list[str]:
    """The ends of paths that tell them apart: the last parts, as few as it takes.

    >>> source_names(["data/web/shards", "data/books/shards"])
    ['web/shards', 'books/shards']
    """
    parts = [os.path.normpath(path).replace(os.sep, "/").split("/") for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}#{number}" for number, name in enumerate(names)]


def stateless_int32(count: int, seed: np.ndarray) -> np.ndarray:
    """What tf.random.stateless_uniform([count], seed, None, None, tf.int32) draws on a CPU: Philox 4x32-10.

    Salmon et al. 2011; TensorFlow promises that the numbers stay the same in all versions.

    Args:
      count: of numbers.
      seed: int32 [2].
    """
    words = np.asarray(seed).astype(np.int64).astype(np.uint64)
    begin = np.array([[words[0] & _LOW, words[0] >> _HIGH, words[1] & _LOW, words[1] >> _HIGH]], np.uint64)
    mixed = _philox(begin, _SCRAMBLE_KEY)[0]
    blocks = -(-count // 4)
    counters = np.empty((blocks, 4), np.uint64)
    counters[:, 0], counters[:, 1] = np.arange(blocks), 0
    counters[:, 2:] = mixed[2:]
    drawn = _philox(counters, (int(mixed[0]), int(mixed[1])))
    return drawn.reshape(-1)[:count].astype(np.uint32).view(np.int32)


def _philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """uint64 [blocks, 4] of 32-bit numbers."""
    first, second = key
    for _ in range(_PHILOX_ROUNDS):
        products = counters[:, [0, 2]] * _PHILOX_FACTORS
        high, low = products >> _HIGH, products & _LOW
        counters = np.stack(
            [
                high[:, 1] ^ counters[:, 1] ^ np.uint64(first),
                low[:, 1],
                high[:, 0] ^ counters[:, 3] ^ np.uint64(second),
                low[:, 0],
            ],
            axis=1,
        )
        first = (first + _PHILOX_KEY_STEPS[0]) & 0xFFFFFFFF
        second = (second + _PHILOX_KEY_STEPS[1]) & 0xFFFFFFFF
    return counters
