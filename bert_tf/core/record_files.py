"""TFRecord framing, without TensorFlow: length, masked crc32c of the length, data, masked crc32c of the data."""

import functools
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_CRC = struct.Struct("<I")


def frame_record(data: bytes) -> bytes:
    """A record as it stands in a file."""
    return _header(len(data)) + data + _masked_crc(data)


@functools.lru_cache(maxsize=4096)  # records of one shard have few different lengths
def _header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + _masked_crc(packed)


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of an open TFRecord file, one by one.

    Raises:
      EOFError: it ends inside a record, or a checksum does not fit; the message names the record's byte.
    """
    offset = 0
    while header := file.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise EOFError(f"no TFRecord begins at byte {offset}")
        length = int.from_bytes(header[:8], "little")
        data, crc = file.read(length), file.read(4)
        if len(data) < length or _masked_crc(data) != crc:
            raise EOFError(f"the record at byte {offset} is cut off or changed")
        yield data
        offset += 16 + length


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
