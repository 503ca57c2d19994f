"""Files of this machine, or of a file system that is mounted into it, with the interface of a store."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from bert_tf.core import whole_file
from bert_tf.core.stores.store import Failure, Status


class LocalFiles:
    """See store.Store. The bucket is empty and a key is a path."""

    def stat(self, bucket: str, key: str) -> Status | None:
        try:
            found = os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if os.path.isdir(key) else _status(key, found)

    def listed(self, bucket: str, prefix: str, *, shallow: bool) -> Iterator[Status]:
        for folder, folders, names in os.walk(os.path.dirname(prefix)):
            for name in names:
                path = os.path.join(folder, name)
                if path.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                        yield _status(path, os.stat(path))
            if shallow:
                folders.clear()

    def read(self, bucket: str, status: Status, start: int, length: int) -> bytes:
        with open(status.key, "rb") as file:
            file.seek(start)
            return file.read(length)

    def write(self, bucket: str, key: str, file: BinaryIO, size: int, *, if_absent: bool) -> None:
        if if_absent and os.path.exists(key):
            raise FileExistsError(None, "a file of this name")
        os.makedirs(os.path.dirname(key) or ".", exist_ok=True)
        with whole_file.replacing(key, "wb") as copy:
            shutil.copyfileobj(file, copy)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                os.remove(key)


def failure_of(error: Exception) -> tuple[Failure, str] | None:
    """See store.py."""
    if isinstance(error, FileExistsError) and error.errno is None:
        return Failure.CHANGED, str(error.strerror)
    return (Failure.OTHER, str(error.strerror or error)) if isinstance(error, OSError) else None


def _status(path: str, found: os.stat_result) -> Status:
    return Status(path, found.st_size, found.st_mtime, f"{found.st_size}-{found.st_mtime_ns}")
