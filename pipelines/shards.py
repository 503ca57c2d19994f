"""Exact, byte-stable shards and what lies beside them: dataset.json, vocab.txt, TFDS metadata, COMPLETED."""

import gzip
import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from bert_tf import records
from bert_tf.errors import InputError

COMPRESSIONS = ("none", "gzip")
_GZIP_LEVEL = 6
_CRC = struct.Struct("<I")


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file under a temporary name and renames it, over an older one if there is one.

    Raises:
      InputError: the path cannot be written.
    """
    # A name of its own for every attempt: a runner may make the same shard twice at the same time.
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        try:
            _write(temporary, data)
            FileSystems.rename([temporary], [path])
        except BaseException:
            if FileSystems.exists(temporary):
                FileSystems.delete([temporary])
            raise
    except (OSError, BeamIOError) as error:
        raise InputError(f"{path}: expected a place that can be written. Received: {_reason(error)}.") from None


def check_writable(path: str) -> None:
    """Writes and deletes a file beside `path`, so that a job does not find out at its end.

    Raises:
      InputError: the path cannot be written.
    """
    probe = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(None, "it is a folder")
        _write(probe, b"")
        FileSystems.delete([probe])
    except (OSError, BeamIOError) as error:
        raise InputError(f"{path}: expected a place that can be written. Received: {_reason(error)}.") from None


def _write(path: str, data: bytes) -> None:
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(data)


def read_bytes(path: str) -> bytes | None:
    """A whole file, or None if it is not there.

    Raises:
      InputError: it is there and cannot be read.
    """
    try:
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read()
    except (OSError, BeamIOError) as error:
        raise InputError(f"{path}: expected a readable file. Received: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    """The innermost message: Beam wraps the errors of single files into one of its own."""
    causes = getattr(error, "exception_details", None) or {}
    cause = next(iter(causes.values()), error)
    return (getattr(cause, "strerror", None) or str(cause).splitlines()[0]).rstrip(".")


def frame_records(serialized: Iterable[bytes]) -> bytes:
    """TFRecord framing: length, masked crc32c of the length, data, masked crc32c of the data."""
    headers: dict[int, bytes] = {}  # records of one shard have few different lengths
    framed = []
    for data in serialized:
        header = headers.get(len(data))
        if header is None:
            length = struct.pack("<Q", len(data))
            header = headers[len(data)] = length + _masked_crc(length)
        framed += (header, data, _masked_crc(data))
    return b"".join(framed)


def read_records(file) -> Iterator[bytes]:
    """The records of an open TFRecord file, one by one.

    Raises:
      EOFError: it ends inside a record, or a checksum does not fit.
    """
    while header := file.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise EOFError("no TFRecord begins here")
        length = int.from_bytes(header[:8], "little")
        data, crc = file.read(length), file.read(4)
        if len(data) < length or _masked_crc(data) != crc:
            raise EOFError("a record is cut off or changed")
        yield data


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_shard(output_dir: str, name: str, serialized: list[bytes], compression: str = "none") -> dict:
    """Writes one finished shard and returns what dataset.json says of it."""
    data = frame_records(serialized)
    if compression == "gzip":
        data = gzip.compress(data, _GZIP_LEVEL, mtime=0)  # the time would make other bytes on every run
    write_bytes(FileSystems.join(output_dir, name), data)
    return {
        "name": name,
        "examples": len(serialized),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def write_tfds_metadata(output_dir: str, layout: records.RecordLayout, shards: list[dict]) -> None:
    """Lets `tfds.builder_from_directory(output_dir)` open the folder."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            name: tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype))
            for name, (shape, dtype) in layout.features.items()
        }
    )
    template = tfds.core.ShardedFileTemplate(dataset_name="pretrain", data_dir=output_dir, filetype_suffix="tfrecord")
    splits = []
    for split in ("train", "validation"):
        of_split = [shard for shard in shards if shard["name"].startswith(f"pretrain-{split}.")]
        if of_split:
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard["examples"] for shard in of_split],
                    num_bytes=sum(shard["bytes"] for shard in of_split),
                    filename_template=template.replace(split=split),
                )
            )
    tfds.folder_dataset.write_metadata(
        data_dir=output_dir, features=features, split_infos=splits, version="1.0.0", check_data=False
    )


def write_manifest(output_dir: str, manifest: dict) -> None:
    """Writes dataset.json, then COMPLETED: whoever sees COMPLETED sees everything."""
    write_bytes(FileSystems.join(output_dir, records.MANIFEST), (json.dumps(manifest, indent=2) + "\n").encode())
    write_bytes(FileSystems.join(output_dir, records.COMPLETED), b"")
