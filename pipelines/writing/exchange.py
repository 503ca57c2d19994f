"""How documents come to their pools: in compressed blocks, each of many documents of one pool.

A service's runner shuffles the blocks itself. Beam's local runner keeps in memory what crosses a GroupByKey, several
times its size, so there the blocks go to files beside the output and only their places cross. A pool sorts what it
gets, so the bytes of its shard do not depend on which way they came, nor on how blocks were cut.
"""

import collections
import dataclasses
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import zstandard
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from bert_tf.core.errors import StorageError
from pipelines.running.bundles import at_bundle_end
from pipelines.writing.shards import reason_of

_BYTES_AT_ONCE = 32 << 20  # of text held by one worker before it goes out
_LEVEL = 1
_KEY_BYTES = 16
_LENGTH = struct.Struct("<I")


class Place(NamedTuple):
    """Where a block lies."""

    path: str
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Losses:
    """What documents of the pool lose to duplicates in others; see duplicates.py."""

    data: bytes


Block = bytes | Place | Losses


@dataclasses.dataclass
class PoolInput:
    """What came to a pool.

    Attributes:
      documents: by their keys.
      again: how often more than once a key came.
      losses: what duplicates.losses_by_document takes.
    """

    documents: dict[bytes, str] = dataclasses.field(default_factory=dict)
    again: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    losses: list[bytes] = dataclasses.field(default_factory=list)


class ToBlocks(beam.DoFn):
    """Lists of documents (str) -> (pool, Block).

    Args:
      keys_of: (pool, key of 16 bytes) of a document, for each of the pools that it goes to.
      folder: where the blocks go; None if they cross the GroupByKey themselves.
    """

    def __init__(self, keys_of: Callable[[str], Iterable[tuple[str, bytes]]], folder: str | None):
        self._keys_of, self._folder = keys_of, folder

    def start_bundle(self):
        self._pools: dict[str, list[bytes]] = {}
        self._documents, self._size = 0, 0

    def process(self, texts: list[str]) -> Iterator[tuple[str, Block]]:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            length = _LENGTH.pack(len(data))
            for pool, key in self._keys_of(text):
                self._pools.setdefault(pool, []).extend((key, length, data))
                self._documents += 1
                self._size += len(data)
        if self._size > _BYTES_AT_ONCE:
            yield from self._flush()

    def finish_bundle(self):
        for element in self._flush():
            yield at_bundle_end(element)

    def _flush(self) -> Iterator[tuple[str, Block]]:
        blocks = [(pool, zstandard.compress(b"".join(parts), _LEVEL)) for pool, parts in sorted(self._pools.items())]
        documents, size = self._documents, self._size
        self.start_bundle()
        if self._folder is None or not blocks:
            yield from blocks
            return
        # A name of its own for every attempt: what a repeated bundle wrote before is simply never read. What the name
        # says besides is for whoever watches the job's progress.
        path = FileSystems.join(self._folder, f"{uuid.uuid4().hex}-{documents}-{size}")
        try:
            with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                for _, block in blocks:
                    file.write(block)
        except (OSError, BeamIOError) as error:
            raise StorageError(f"{path}: expected a place that can be written. Received: {reason_of(error)}.") from None
        offset = 0
        for pool, block in blocks:
            yield pool, Place(path, offset, len(block))
            offset += len(block)


def read_blocks(blocks: Iterable[Block]) -> PoolInput:
    """Everything that came to a pool, in whatever order."""
    found = PoolInput()
    for block in blocks:
        if isinstance(block, Losses):
            found.losses.append(block.data)
            continue
        data = zstandard.decompress(block if isinstance(block, bytes) else _read(Place(*block)))
        start = 0
        while start < len(data):
            key = data[start : start + _KEY_BYTES]
            start += _KEY_BYTES + _LENGTH.size
            end = start + _LENGTH.unpack_from(data, start - _LENGTH.size)[0]
            if key in found.documents:
                found.again[key] += 1
            else:
                found.documents[key] = data[start:end].decode("utf-8", "surrogatepass")
            start = end
    return found


def _read(place: Place) -> bytes:
    try:
        with FileSystems.open(place.path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.seek(place.offset)
            data = file.read(place.length)
    except (OSError, BeamIOError) as error:
        raise StorageError(
            f"{place.path}: expected what this job wrote there. Received: {reason_of(error)}; another job may be "
            "writing to the same folder."
        ) from None
    if len(data) != place.length:
        raise StorageError(
            f"{place.path}: expected {place.length} bytes at {place.offset}. Received {len(data)}; "
            "another job may be writing to the same folder."
        )
    return data
