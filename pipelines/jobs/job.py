"""The configuration of a job, and the pools of each document: functions of the input and the seed alone."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator

from bert_tf.core import records
from bert_tf.core.errors import require
from pipelines.filtering.cleaning import DocumentConfig
from pipelines.instances.pool import InstanceConfig
from pipelines.reading.documents import document_id
from pipelines.reading.readers import Format
from pipelines.writing import shards

_POOL_BYTES = 100e6  # of text; a pool takes about ten times as much memory while it becomes a shard
_MIN_SHARDS = 8  # so that small data too is spread over workers and shuffled
_MAX_SHARDS = 99_999  # names have five digits
_TOO_LARGE = 2  # times _POOL_BYTES, before --num_shards is called too few


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Everything that the bytes of the shards depend on, except the input and the vocabulary.

    Attributes:
      num_shards, num_validation_shards: None = by the size of the input; see `settle_shards`.
      compression: of the shards, one of shards.COMPRESSIONS.
    """

    instances: InstanceConfig = InstanceConfig()
    documents: DocumentConfig = DocumentConfig()
    file_format: Format = Format()
    num_shards: int | None = None
    num_validation_shards: int | None = None
    validation_fraction: float = 0.02
    dupe_factor: int = 1
    compression: str = "none"

    def __post_init__(self):
        for name in ("num_shards", "num_validation_shards"):
            value = getattr(self, name)
            require(value is None or 1 <= value <= _MAX_SHARDS, f"--{name} must lie in [1, {_MAX_SHARDS}]", value)
        require(self.dupe_factor >= 1, "--dupe_factor must be at least 1", self.dupe_factor)
        fraction = self.validation_fraction
        require(0 <= fraction < 1, "--validation_fraction must lie in [0, 1)", fraction)
        require(
            self.compression in shards.COMPRESSIONS,
            f"--compression must be one of {shards.COMPRESSIONS}",
            self.compression,
        )

    def shard_names(self) -> list[str]:
        """The names of all shards of the job, whose numbers must be settled."""
        count = _settled(self.num_shards)
        names = [records.shard_name("train", i, count) for i in range(count)]
        if self.validation_fraction:
            count = _settled(self.num_validation_shards)
            names += [records.shard_name("validation", i, count) for i in range(count)]
        return names


def _settled(count: int | None) -> int:
    if count is None:
        raise ValueError("the numbers of shards must be settled first")
    return count


def settle_shards(config: JobConfig, text_bytes: float) -> tuple[JobConfig, str | None]:
    """Chooses the numbers of shards that are None, so that a pool has some 100 MB of text.

    Returns:
      The config with both numbers, and a warning if a given number makes pools too large.
    """
    train = text_bytes * (1 - config.validation_fraction) * config.dupe_factor
    validation = text_bytes * config.validation_fraction
    settled = dataclasses.replace(
        config,
        num_shards=config.num_shards or min(_MAX_SHARDS, max(_MIN_SHARDS, math.ceil(train / _POOL_BYTES))),
        num_validation_shards=config.num_validation_shards or max(1, math.ceil(validation / _POOL_BYTES)),
    )
    for flag, size, count in (
        ("--num_shards", train, _settled(settled.num_shards)),
        ("--num_validation_shards", validation, _settled(settled.num_validation_shards)),
    ):
        if size / count > _TOO_LARGE * _POOL_BYTES:
            return settled, (
                f"warning: {flag}={count} puts about {size / count / 1e6:,.0f} MB of text into each pool, held "
                f"in memory; {flag}={math.ceil(size / _POOL_BYTES)} keeps it near {_POOL_BYTES / 1e6:.0f} MB."
            )
    return settled, None


def pools_of(identity: bytes, config: JobConfig) -> Iterator[tuple[str, bytes]]:
    """Yields (shard name, order key) of a document, once for every pass.

    A document is in validation or in training for all passes.
    """
    seed = f"{config.instances.seed}".encode()

    def digest(number: int) -> bytes:
        return hashlib.blake2b(identity, key=seed, salt=number.to_bytes(4), person=b"pool").digest()

    first = digest(0)
    if _fraction(first[:6]) < config.validation_fraction:
        split, count, passes = "validation", _settled(config.num_validation_shards), 1
    else:
        split, count, passes = "train", _settled(config.num_shards), config.dupe_factor
    for number in range(passes):
        drawn = digest(number) if number else first
        yield records.shard_name(split, int(_fraction(drawn[6:12]) * count), count), drawn[-16:]


def _fraction(data: bytes) -> float:
    """A stable pseudo-random number in [0, 1) from 48 bits, which a float holds exactly: more could round up to 1."""
    return int.from_bytes(data) / 2**48


@dataclasses.dataclass(frozen=True)
class WantedPools:
    """The pools of a document among those whose shards are not finished."""

    config: JobConfig
    wanted: frozenset[str]

    def of_id(self, identity: bytes) -> list[str]:
        """Names of shards."""
        return [name for name, _ in pools_of(identity, self.config) if name in self.wanted]

    def of_text(self, text: str) -> list[tuple[str, bytes]]:
        """(shard name, order key)."""
        return [place for place in pools_of(document_id(text), self.config) if place[0] in self.wanted]
