"""Sends documents to their pools: in compressed blocks, each with many documents of one pool.

A service's runner shuffles the blocks itself. Beam's local runner holds in memory what crosses a GroupByKey, several
times its size, so there the blocks go to files beside the output and only their places cross. A pool sorts its
documents, so the bytes of its shard depend neither on the way of the blocks nor on where they were divided.
"""

import collections
import dataclasses
import itertools
import json
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import apache_beam as beam
from backports import zstd

from bert_tf.core.errors import StorageError
from bert_tf.core.provenance import Origin
from pipelines.reading.outcomes import Document
from pipelines.running import files
from pipelines.running.bundles import at_bundle_end
from pipelines.running.worker_errors import sent_to_launcher

_BYTES_AT_ONCE = 32 << 20  # of text held by one worker before it goes out
_LEVEL = 1
_KEY_BYTES = 16
NOTE = ".json"  # behind a file's name: what it holds, for progress.py
_HEADER = struct.Struct("<I")  # bytes of a block's list of origins
_LENGTHS = struct.Struct("<IIQ")  # bytes of a document, number of its origin in that list, offset


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
Key = TypeVar("Key")  # of a block


@dataclasses.dataclass
class PoolInput:
    """The content of a pool.

    Attributes:
      documents: by their keys.
      origins: of each key, once for every time that it came; the first in the order of origins, if one is enough.
      again: how often a key came again after its first time.
      duplicates: what duplicates.duplicates_by_document takes.
    """

    documents: dict[bytes, str] = dataclasses.field(default_factory=dict)
    origins: dict[bytes, list[Origin]] = dataclasses.field(default_factory=dict)
    again: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    duplicates: list[bytes] = dataclasses.field(default_factory=list)


class ToBlocks(beam.DoFn):
    """Lists of Document -> (pool, Block).

    Args:
      keys_of: (pool, key of 16 bytes) of a document, for each of the pools that it goes to.
      folder: where the blocks go; None if they cross the GroupByKey themselves.
    """

    def __init__(self, keys_of: Callable[[str], Iterable[tuple[str, bytes]]], folder: str | None):
        self._keys_of, self._folder = keys_of, folder

    def start_bundle(self):
        self._pools: dict[str, _Pool] = collections.defaultdict(_Pool)
        self._documents, self._size = 0, 0

    def process(self, documents: list[Document]) -> Iterator[tuple[str, Block]]:
        for document in documents:
            data = document.text.encode("utf-8", "surrogatepass")
            for name, key in self._keys_of(document.text):
                pool = self._pools[name]
                number = pool.origins.setdefault(document.origin._replace(offset=0), len(pool.origins))
                pool.parts += (key, _LENGTHS.pack(len(data), number, document.offset), data)
                self._documents += 1
                self._size += len(data)
        if self._size > _BYTES_AT_ONCE:
            yield from self._flush()

    def finish_bundle(self):
        for element in self._flush():
            yield at_bundle_end(element)

    def _flush(self) -> Iterator[tuple[str, Block]]:
        blocks = [(name, zstd.compress(pool.block(), _LEVEL)) for name, pool in sorted(self._pools.items())]
        documents, size = self._documents, self._size
        self.start_bundle()
        yield from spilled(self._folder, blocks, documents, size)


@dataclasses.dataclass
class _Pool:
    """What goes to a pool: documents with their keys, and the origins that they have but for offsets, by number."""

    parts: list[bytes] = dataclasses.field(default_factory=list)
    origins: dict[Origin, int] = dataclasses.field(default_factory=dict)

    def block(self) -> bytes:
        origins = json.dumps(list(self.origins)).encode()
        return b"".join([_HEADER.pack(len(origins)), origins, *self.parts])


def spilled(
    folder: str | None, blocks: Sequence[tuple[Key, bytes]], documents: int, size: int
) -> Sequence[tuple[Key, bytes | Place]]:
    """The blocks in a new file of the folder, with a note for the progress; the blocks themselves without a folder.

    Args:
      folder: of the exchange, or None.
      blocks: with their keys.
      documents, size: what the blocks hold, in documents and bytes of text.
    """
    if folder is None or not blocks:
        return blocks
    # Each attempt writes to a new file name, so files of a failed attempt are never read.
    path = files.join(folder, uuid.uuid4().hex)
    with sent_to_launcher():
        places = write_blocks(path, blocks)
        files.write_json(f"{path}{NOTE}", {"documents": documents, "bytes": size})
    return places


def write_blocks(path: str, blocks: Sequence[tuple[Key, bytes]]) -> list[tuple[Key, Place]]:
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
    return zstd.decompress(block if isinstance(block, bytes) else _read(Place(*block)))


def read_blocks(blocks: Iterable[Block], *, copies: bool = True) -> PoolInput:
    """The content of a pool, from its blocks in any order.

    Args:
      copies: whether all origins of a document that came several times are wanted, or only the first.
    """
    found = PoolInput()
    for block in blocks:
        if isinstance(block, Duplicates):
            found.duplicates.append(block.data)
            continue
        data = decompressed(block)
        start = _HEADER.size + _HEADER.unpack_from(data)[0]
        origins = [Origin(*fields) for fields in json.loads(data[_HEADER.size : start])]
        while start < len(data):
            key = data[start : start + _KEY_BYTES]
            start += _KEY_BYTES + _LENGTHS.size
            length, number, offset = _LENGTHS.unpack_from(data, start - _LENGTHS.size)
            origin = origins[number]._replace(offset=offset)
            if key not in found.documents:
                found.documents[key] = data[start : start + length].decode("utf-8", "surrogatepass")
                found.origins[key] = [origin]
            else:
                found.again[key] += 1
                known = found.origins[key]
                known.append(origin)
                if not copies:
                    known[:] = [min(known, key=origin_order)]
            start += length
    return found


def origin_order(origin: Origin) -> tuple:
    """By file and offset."""
    return origin.file, origin.unit, origin.offset, origin.source or "", origin.licence or ""


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
