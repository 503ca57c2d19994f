"""Files on s3://, gs:// and this machine: whole files in, whole files out. Errors end in one sentence.

The one layer for every path that the project reads or writes on a store, in Beam's workers too. It stands on the
stores' own clients (boto3, google-cloud-storage), since a training run needs no Beam, and since Beam's file systems
retry for minutes, write no empty objects on S3 and get no options in worker processes. An object appears whole or not
at all, so nothing is renamed, and a process that is killed leaves no part of one under any name.
"""

import contextlib
import functools
import importlib
import io
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import BinaryIO, TypeVar

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores.store import Failure, Status, Store

SCHEMES = {"s3": "boto3, from bert-tf[aws]", "gs": "google-cloud-storage, from bert-tf[gcp]"}
_PATIENCE_VARIABLE = "BERT_TF_STORE_PATIENCE"
_PATIENCE = 25.0  # seconds to try again while a server does not answer or is overloaded
_FIRST_PATIENCE = 4.0  # while it was never reached: a wrong address, more likely
_AT_ONCE = 8 << 20  # bytes of a read
_SMALL = 64 << 20  # bytes; larger files, such as checkpoints, are never appended to
_RETRIED = (Failure.BUSY, Failure.REFUSED)
_Result = TypeVar("_Result")


def is_remote(path: str) -> bool:
    """Whether a path is on a store."""
    return path.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def join(folder: str, *names: str) -> str:
    """A path below a folder. A store takes a//b for another place than a/b."""
    return "/".join([folder.rstrip("/"), *names]) if is_remote(folder) else os.path.join(folder, *names)


def check_file(path: str) -> None:
    """Raises InputError for the root of a bucket, or another path that no file can have."""
    key = _split(path)[2]
    if not key or key.endswith("/"):
        received = "one that ends in a slash" if key else "the root of a bucket"
        raise InputError(f"{path}: expected the path of a file. Received {received}.")


def stat(path: str) -> Status | None:
    """What a path names, None if it does not exist; its key is the whole path.

    Raises:
      StorageError: as all functions here: the store cannot be reached, has no such bucket, or refuses.
    """
    scheme, bucket, key = _split(path)
    found = _call(path, "read", lambda store: store.stat(bucket, key)) if key else None
    return found and found._replace(key=_url(scheme, bucket, found.key))


def listed(prefix: str, *, shallow: bool = False) -> list[Status]:
    """What lies at the paths that begin with `prefix`, sorted; shallow: not in the folders below."""
    scheme, bucket, key = _split(prefix)
    found = _call(prefix, "list", lambda store: list(store.listed(bucket, key, shallow=shallow)))
    # Consoles make objects with a slash at their end, to show folders.
    kept = [status._replace(key=_url(scheme, bucket, status.key)) for status in found if status.key[-1:] != "/"]
    return sorted(kept)


def below(folder: str, *, shallow: bool = False) -> dict[str, Status]:
    """{name: status} of the files in a folder and in those below it; {} if it does not exist."""
    start = folder.rstrip("/") + "/"
    return {status.key[len(start) :]: status for status in listed(start, shallow=shallow)}


def open_to_read(path: str) -> BinaryIO:
    """A file as it is now, to read from anywhere in it.

    Raises:
      StorageError: also if it does not exist, or changes while it is read.
    """
    status = stat(path)
    if status is None:
        raise StorageError(f"{path}: expected {Failure.NO_OBJECT.value}. Received none of this name.")
    return io.BufferedReader(_Ranges(status), _AT_ONCE)  # type: ignore[return-value]


def read_bytes(path: str) -> bytes:
    """A whole file; see open_to_read."""
    with open_to_read(path) as file:
        return file.read()


@contextlib.contextmanager
def writing(path: str, *, if_absent: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which appears under its name when the block ends without an error.

    Args:
      if_absent: fail if there is one of this name.
    """
    check_file(path)
    with tempfile.TemporaryFile() as file:
        yield file
        file.flush()
        _put(path, file, file.tell(), if_absent=if_absent)


def _put(path: str, file: BinaryIO, size: int, *, if_absent: bool = False) -> None:
    _, bucket, key = _split(path)

    def write(store: Store) -> None:
        file.seek(0)
        store.write(bucket, key, file, size, if_absent=if_absent)

    _call(path, "write", write)


def write_bytes(path: str, data: bytes, *, if_absent: bool = False) -> None:
    """Writes a whole file; see `writing`."""
    with writing(path, if_absent=if_absent) as file:
        file.write(data)


def delete(paths: Sequence[str]) -> None:
    """Removes files; those that do not exist are no error."""
    buckets: dict[str, list[str]] = {}
    for path in paths:
        _, bucket, key = _split(path)
        buckets.setdefault(bucket, []).append(key)
    for bucket, keys in buckets.items():
        _call(paths[0], "delete", functools.partial(_delete, bucket=bucket, keys=keys))


def _delete(store: Store, bucket: str, keys: Sequence[str]) -> None:
    store.delete(bucket, keys)


def copy(source: str, target: str) -> None:
    """Copies a local file to any place, or a remote one to this machine.

    A file that grows meanwhile is copied as far as it was at the start.

    Raises:
      StorageError: as all functions here.
      OSError: a local file is gone.
    """
    if not is_remote(source):
        with open(source, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            _put(target, io.BytesIO(file.read(size)) if size < _SMALL else file, size)
        return
    with open_to_read(source) as there, whole_file.replacing(target, "wb") as here:
        while data := there.read(_AT_ONCE):
            here.write(data)


class _Ranges(io.RawIOBase):
    """An object, read in parts."""

    def __init__(self, status: Status):
        self._status, self._position = status, 0
        _, self._bucket, key = _split(status.key)
        self._object = status._replace(key=key)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._status.bytes}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        length = max(0, min(len(buffer), _AT_ONCE, self._status.bytes - self._position))
        if length:
            buffer[:length] = _call(self._status.key, "read", self._read(length))
            self._position += length
        return length

    def readall(self) -> bytes:
        data = bytearray(max(0, self._status.bytes - self._position))
        done = 0
        while done < len(data):
            done += self.readinto(memoryview(data)[done:])
        return bytes(data)

    def _read(self, length: int) -> Callable[[Store], bytes]:
        def read(store: Store) -> bytes:
            data = store.read(self._bucket, self._object, self._position, length)
            if len(data) != length:
                raise ConnectionError(f"{len(data)} of {length} bytes")
            return data

        return read


def _split(path: str) -> tuple[str, str, str]:
    """Scheme, bucket and key; of a local path the key alone."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return "", "", path
    bucket, _, key = rest.partition("/")
    if scheme not in SCHEMES or not bucket:
        raise InputError(f"{path}: expected a local path, s3://BUCKET/KEY or gs://BUCKET/KEY.")
    return scheme, bucket, key


def _url(scheme: str, bucket: str, key: str) -> str:
    return f"{scheme}://{bucket}/{key}" if scheme else key


class _Contact:
    """What this process knows of the server of a scheme, to wait no longer than makes sense."""

    def __init__(self):
        self.was_reached = False
        self.is_lost = False  # a call has waited in vain: the next ones do not

    def patience(self, failure: Failure) -> float:
        if self.is_lost:
            return 0.0
        patience = float(os.environ.get(_PATIENCE_VARIABLE, _PATIENCE))
        return patience if self.was_reached or failure is Failure.BUSY else min(patience, _FIRST_PATIENCE)


_CONTACTS = {scheme: _Contact() for scheme in ("", *SCHEMES)}
_MAKING = threading.Lock()
_MODULES = {"s3": "s3", "gs": "gcs", "": "local"}
_CLASSES = {"s3": "S3", "gs": "Gcs", "": "LocalFiles"}


def _module(scheme: str) -> ModuleType:
    return importlib.import_module(f"bert_tf.core.stores.{_MODULES[scheme]}")


@functools.cache
def _store(scheme: str) -> Store:
    return getattr(_module(scheme), _CLASSES[scheme])()


def _call(path: str, verb: str, attempt: Callable[[Store], _Result]) -> _Result:
    """What a call returns, which is repeated while the server is not there or overloaded."""
    scheme = _split(path)[0]
    contact, began, pause = _CONTACTS[scheme], time.monotonic(), 0.2
    while True:
        try:
            result = attempt(_made(scheme, path))
            contact.was_reached, contact.is_lost = True, False
            return result
        except StorageError:
            raise
        except Exception as error:  # each client has its own kinds
            found = _module(scheme).failure_of(error)
            if found is None:
                raise
            failure, reason = found
        waited = time.monotonic() - began
        if failure not in _RETRIED or waited + pause > contact.patience(failure):
            contact.is_lost = failure in _RETRIED
            after = f" for {waited:.0f} s" if failure in _RETRIED else ""
            expected = f"permission to {verb} it" if failure is Failure.DENIED else failure.value
            raise StorageError(f"{path}: expected {expected}. Received{after}: {reason.rstrip('.')}.") from None
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, 4.0)


def _made(scheme: str, path: str) -> Store:
    try:
        with _MAKING:  # clients share their session while they are made
            return _store(scheme)
    except ImportError:
        raise StorageError(f"{path}: expected the library {SCHEMES[scheme]}. Received: it is not installed.") from None
