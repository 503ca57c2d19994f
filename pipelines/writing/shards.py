"""Exact, byte-stable shards and what lies beside them: dataset.json, vocab.txt, TFDS metadata, COMPLETED."""

import contextlib
import gzip
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from bert_tf.core import record_files, records
from bert_tf.core.errors import InputError, StorageError

COMPRESSIONS = ("none", "gzip")
_GZIP_LEVEL = 6
_BYTES_AT_ONCE = 1 << 20


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file under a temporary name and renames it, over an older one if there is one.

    Raises:
      StorageError: the path cannot be written.
    """
    with _renamed_when_done(path) as file:
        file.write(data)


@contextlib.contextmanager
def _renamed_when_done(path: str) -> Iterator[BinaryIO]:
    # A name of its own for every attempt: a runner may make the same shard twice at the same time.
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        try:
            with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                yield file
            FileSystems.rename([temporary], [path])
        except BaseException:
            if FileSystems.exists(temporary):
                FileSystems.delete([temporary])
            raise
    except (OSError, BeamIOError) as error:
        raise StorageError(f"{path}: expected a place that can be written. Received: {reason_of(error)}.") from None


def check_writable(path: str) -> None:
    """Writes and deletes a file beside `path`, so that a job does not find out at its end.

    Raises:
      InputError: the path cannot be written.
    """
    probe = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(None, "it is a folder")
        FileSystems.create(probe, compression_type=CompressionTypes.UNCOMPRESSED).close()
        FileSystems.delete([probe])
    except (OSError, BeamIOError) as error:
        raise InputError(f"{path}: expected a place that can be written. Received: {reason_of(error)}.") from None


def read_bytes(path: str) -> bytes | None:
    """A whole file, or None if it is not there.

    Raises:
      StorageError: it is there and cannot be read.
    """
    try:
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read()
    except (OSError, BeamIOError) as error:
        raise StorageError(f"{path}: expected a readable file. Received: {reason_of(error)}.") from None


def reason_of(error: Exception) -> str:
    """The innermost message: Beam wraps the errors of single files into one of its own."""
    causes = getattr(error, "exception_details", None) or {}
    cause = next(iter(causes.values()), error)
    return (getattr(cause, "strerror", None) or str(cause).splitlines()[0]).rstrip(".")


def sha256_of(path: str) -> str | None:
    """The SHA-256 of a file, or None if it is not there; a file of any size.

    Raises:
      StorageError: it is there and cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            while data := file.read(_BYTES_AT_ONCE):
                digest.update(data)
    except (OSError, BeamIOError) as error:
        raise StorageError(f"{path}: expected a readable file. Received: {reason_of(error)}.") from None
    return digest.hexdigest()


def write_shard(output_dir: str, name: str, batches: Iterable[list[bytes]], compression: str = "none") -> dict:
    """Writes a shard, batch by batch of records as they come, and returns what dataset.json says of it."""
    examples = 0
    with _renamed_when_done(FileSystems.join(output_dir, name)) as raw:
        file = _Hashed(raw)
        # The time of writing would make other bytes on every run.
        # It asks its file for nothing but write.
        zipped = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) if compression == "gzip" else None  # type: ignore
        for batch in batches:
            (zipped or file).write(b"".join(map(record_files.frame_record, batch)))
            examples += len(batch)
        if zipped:
            zipped.close()
    return {"name": name, "examples": examples, "bytes": file.size, "sha256": file.hash.hexdigest()}


class _Hashed:
    """Writes to a file and keeps count."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.size, self.hash = 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)


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
