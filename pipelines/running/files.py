"""Files on any storage: whole files in, whole files out, errors in one sentence.

s3:// and gs:// go through bert_tf.core.stores, as in training. Local paths and other schemes go through Beam's
FileSystems. Other modules of the pipelines touch files through this one only.
"""

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems

from bert_tf.core import errors
from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores import objects

ERRORS = (OSError, BeamIOError)  # what file systems raise; bert_tf.core.stores raises StorageError
_BYTES_AT_ONCE = 1 << 20
_WILDCARD = re.compile(r"[*?[]")


def join(folder: str, *names: str) -> str:
    """A path below a folder."""
    return objects.join(folder, *names) if objects.is_remote(folder) else FileSystems.join(folder, *names)


def exists(path: str) -> bool:
    """Whether there is a file, or, where there are folders, a folder."""
    return objects.stat(path) is not None if objects.is_remote(path) else FileSystems.exists(path)


def make_folder(path: str) -> None:
    """Makes a folder where there is none; object stores have none."""
    if not objects.is_remote(path) and not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def delete(paths: Sequence[str]) -> None:
    """Removes files, and folders with all that is in them."""
    if paths and objects.is_remote(paths[0]):
        objects.delete(paths)
    elif paths:
        FileSystems.delete(list(paths))


def match(pattern: str) -> list[FileMetadata]:
    """The files of a path or glob. A path that exists is no glob, even if it holds its characters or commas."""
    wildcard = _WILDCARD.search(pattern)
    if not objects.is_remote(pattern):
        system = FileSystems.get_filesystem(pattern)
        if (wildcard or "," in pattern) and system.exists(pattern):
            return [system.metadata(pattern)]
        return FileSystems.match([pattern])[0].metadata_list
    status = objects.stat(pattern)
    if status is None and wildcard:
        matches = re.compile(FileSystem.translate_pattern(pattern)).match
        found = [status for status in objects.listed(pattern[: wildcard.start()]) if matches(status.key)]
    else:
        found = [status] if status else []
    return [FileMetadata(status.key, status.bytes, status.modified) for status in found]


def open_to_read(path: str) -> BinaryIO:
    """The file's own bytes: Beam would otherwise decompress by the name's ending."""
    if objects.is_remote(path):
        return objects.open_to_read(path)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name, over an older file, when the block ends without an error.

    Raises:
      StorageError: the path cannot be written.
    """
    if objects.is_remote(path):
        with objects.writing(path) as file:
            yield file
        return
    # Every attempt has a temporary name of its own: a runner may run the same step twice at the same time.
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
    except ERRORS as error:
        raise StorageError(f"{path}: expected a place that can be written. Received: {reason_of(error)}.") from None


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: str, value) -> None:
    """Writes a value as indented JSON; see `replacing`."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def check_writable(path: str) -> None:
    """Writes and deletes a file beside `path`, so that a job fails at its start and not at its end.

    Raises:
      InputError: the path cannot be written.
    """
    if objects.is_remote(path):
        objects.check_file(path)
    probe = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(None, "it is a folder")
        write_bytes(probe, b"")
        delete([probe])
    except ERRORS as error:
        raise InputError(f"{path}: expected a place that can be written. Received: {reason_of(error)}.") from None
    except StorageError as error:
        raise InputError(str(error).replace(probe, path)) from None


def read_bytes(path: str) -> bytes | None:
    """A whole file, or None if it does not exist.

    Raises:
      StorageError: it exists and cannot be read.
    """
    return b"".join(_chunks(path)) if _exists(path) else None


def sha256_of(path: str) -> str | None:
    """The SHA-256 of a file of any size, or None if it does not exist.

    Raises:
      StorageError: it exists and cannot be read.
    """
    if not _exists(path):
        return None
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _exists(path: str) -> bool:
    with _reading(path):
        return exists(path)


def _chunks(path: str) -> Iterator[bytes]:
    with _reading(path), open_to_read(path) as file:
        while data := file.read(_BYTES_AT_ONCE):
            yield data


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except ERRORS as error:
        raise StorageError(f"{path}: expected a readable file. Received: {reason_of(error)}.") from None


def sizes(folder: str) -> dict[str, int]:
    """Names and bytes of the files in a folder; {} if the folder does not exist.

    Does not ask whether the folder exists: in an object store no object has a folder's name.
    """
    if objects.is_remote(folder):
        return {name: status.bytes for name, status in objects.below(folder, shallow=True).items()}
    try:
        found = FileSystems.match([FileSystems.join(folder, "*")])[0].metadata_list
    except BeamIOError:  # some file systems raise for a folder that does not exist
        if FileSystems.exists(folder):
            raise
        return {}
    return {FileSystems.split(metadata.path)[1]: metadata.size_in_bytes for metadata in found}


def names(folder: str) -> list[str]:
    """Names of the files in a folder, sorted; [] if the folder does not exist."""
    return sorted(sizes(folder))


def reason_of(error: Exception) -> str:
    """The innermost message: Beam wraps the errors of single files into one of its own."""
    causes = getattr(error, "exception_details", None) or {}
    cause = next(iter(causes.values()), error)
    return errors.reason_of(cause)
