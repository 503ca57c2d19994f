"""Sends documents to their pools: in compressed blocks, each with many documents of one pool.

A service's runner shuffles the blocks itself. Beam's local runner holds in memory what crosses a GroupByKey, several
times its size, so there the blocks go to files beside the output and only their places cross. A pool sorts its
documents, so the bytes of its shard depend neither on the way of the blocks nor on where they were divided.
"""

import collections
import dataclasses
import itertools
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import apache_beam as beam
import zstandard
from apache_beam.io.filesystems import FileSystems

from bert_tf.core.errors import StorageError
from pipelines.running import files
from pipelines.running.bundles import at_bundle_end
from pipelines.running.worker_errors import sent_to_launcher

_BYTES_AT_ONCE = 32 << 20  # of text held by one worker before it goes out
_LEVEL = 1
_KEY_BYTES = 16
NOTE = ".json"  # behind a file's name: what it holds, for progress.py
_LENGTH = struct.Struct("<I")
_Key = TypeVar("_Key")


class Place(NamedTuple):
    """The position of a block in a file."""

    path: str
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """What documents of the pool drop because other documents have it; see duplicates.py."""

    data: bytes


Block = bytes | Place | Duplicates


@dataclasses.dataclass
class PoolInput:
    """The content of a pool.

    Attributes:
      documents: by their keys.
      again: how often a key came again after its first time.
      duplicates: what duplicates.duplicates_by_document takes.
    """

    documents: dict[bytes, str] = dataclasses.field(default_factory=dict)
    again: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    duplicates: list[bytes] = dataclasses.field(default_factory=list)


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
        # Every attempt has a file name of its own: files of an earlier attempt are never read.
        path = FileSystems.join(self._folder, uuid.uuid4().hex)
        with sent_to_launcher():
            places = write_blocks(path, blocks)
            files.write_json(f"{path}{NOTE}", {"documents": documents, "bytes": size})
        yield from places


def write_blocks(path: str, blocks: Sequence[tuple[_Key, bytes]]) -> list[tuple[_Key, Place]]:
    """Writes blocks to a new file; returns their places."""
    with files.replacing(path) as file:
        for _, block in blocks:
            file.write(block)
    starts = itertools.accumulate((len(block) for _, block in blocks), initial=0)
    return [(key, Place(path, start, len(block))) for start, (key, block) in zip(starts, blocks, strict=False)]


def decompressed(block: bytes | Place) -> bytes:
    """The content of a compressed block.

    Raises:
      StorageError: its file cannot be read, or is not what was written.
    """
    return zstandard.decompress(block if isinstance(block, bytes) else _read(Place(*block)))


def read_blocks(blocks: Iterable[Block]) -> PoolInput:
    """The content of a pool, from its blocks in any order."""
    found = PoolInput()
    for block in blocks:
        if isinstance(block, Duplicates):
            found.duplicates.append(block.data)
            continue
        data = decompressed(block)
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
        with files.open_to_read(place.path) as file:
            file.seek(place.offset)
            data = file.read(place.length)
    except files.ERRORS as error:
        raise StorageError(
            f"{place.path}: expected what this job wrote there. Received: {files.reason_of(error)}; another job may be "
            "writing to the same folder."
        ) from None
    if len(data) != place.length:
        raise StorageError(
            f"{place.path}: expected {place.length} bytes at {place.offset}. Received {len(data)}; "
            "another job may be writing to the same folder."
        )
    return data
