"""Copies of remote files on this machine's disk, for what reads only local ones: TensorFlow, safetensors.

The cache is a folder of the machine and not of a run: BERT_TF_CACHE names it (default: ~/.cache/bert_tf), and
BERT_TF_CACHE_GB says how much of its disk the shards of a process may take (default: 20). Each process holds one of its
slots. A process that was killed leaves its slot with whole files, which the next one takes over.
"""

import concurrent.futures
import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import threading
import uuid
from collections import OrderedDict

from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores import objects

_FOLDER, _GIGABYTES = "BERT_TF_CACHE", "BERT_TF_CACHE_GB"
_AT_ONCE = 8 << 20
_ATTEMPTS = 2  # a copy that differs from its checksum is fetched once more


class Cache:
    """A slot of the cache's folder.

    Args:
      root: the folder; it is made.
      limit: bytes of files with a checksum that stay. The most recent ones stay even if they are larger.
      pinned: how many of the most recent ones stay in any case.

    Raises:
      StorageError: the folder cannot be written.
    """

    def __init__(self, root: str, limit: int, pinned: int = 4):
        self._limit, self.pinned = limit, pinned
        try:
            self._slot, self._lock = _free_slot(root)
            self._files = _whole_files(self._slot)
        except OSError as error:
            raise StorageError(
                f"{root}: expected a folder for copies of remote files, as {_FOLDER} names it. "
                f"Received: {error.strerror}."
            ) from None
        self._guard = threading.Lock()
        self._coming: dict[str, concurrent.futures.Future] = {}
        self._fetchers = concurrent.futures.ThreadPoolExecutor(2, "fetch")

    def fetch(self, url: str, sha256: str) -> concurrent.futures.Future:
        """The local path of a file, once it is here; fetched beside what the caller does.

        Raises:
          InputError: from the future: its content is another one.
          StorageError: likewise: it cannot be read, or not be written here.
        """
        with self._guard:
            future = self._coming.get(sha256)
            if future is None:
                future = self._fetchers.submit(self._fetched, url, sha256)
                self._coming[sha256] = future
                future.add_done_callback(lambda _: self._coming.pop(sha256, None))
            return future

    def _fetched(self, url: str, sha256: str) -> str:
        path = os.path.join(self._slot, sha256)
        with self._guard:
            if sha256 in self._files:
                self._files.move_to_end(sha256)
                return path
        size = _download_checked(url, path, sha256)
        with self._guard:
            self._files[sha256] = size
            while sum(self._files.values()) > self._limit and len(self._files) > self.pinned:
                os.remove(os.path.join(self._slot, self._files.popitem(last=False)[0]))
        return path

    def folder(self, url: str) -> str:
        """The path of a copy of a folder, with the folders in it; an empty one if there is none.

        What an earlier call copied is used again if names, sizes and versions are the same.
        """
        found = objects.below(url)
        digest = hashlib.sha256(repr([(url, *sorted(found.items()))]).encode()).hexdigest()[:32]
        path = os.path.join(self._slot, digest, os.path.basename(url.rstrip("/")))
        if os.path.isdir(path):
            return path
        temporary = f"{path}.tmp"
        try:
            os.makedirs(temporary, exist_ok=True)
            for name in found:
                target = os.path.join(temporary, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                objects.copy(objects.join(url, name), target)
            os.rename(temporary, path)
        except OSError as error:
            raise StorageError(f"{path}: expected to write a copy of {url}. Received: {error.strerror}.") from None
        return path


@functools.cache
def cache() -> Cache:
    """The cache of this process."""
    home = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))
    root = os.environ.get(_FOLDER, os.path.join(home, "bert_tf"))
    return Cache(root, int(float(os.environ.get(_GIGABYTES, "20")) * 1e9))


def local_folder(path: str) -> str:
    """The path itself, or that of a copy if it is on a store."""
    return cache().folder(path) if objects.is_remote(path) else path


def _free_slot(root: str) -> tuple[str, int]:
    """The first slot that no process holds, and the lock, which the kernel frees when the process ends."""
    number = 0
    while True:
        slot = os.path.join(root, f"slot-{number}")
        os.makedirs(slot, exist_ok=True)
        lock = os.open(slot, os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot, lock
        os.close(lock)
        number += 1


def _whole_files(slot: str) -> "OrderedDict[str, int]":
    """Name and size of the files with a checksum that an earlier process left, the oldest first; removes the rest."""
    whole = []
    for entry in os.scandir(slot):
        if entry.is_dir():
            shutil.rmtree(entry.path)
        elif entry.name.endswith(".tmp"):
            os.remove(entry.path)
        else:
            whole.append((entry.stat().st_mtime, entry.name, entry.stat().st_size))
    return OrderedDict((name, size) for _, name, size in sorted(whole))


def _download_checked(url: str, path: str, sha256: str) -> int:
    for _ in range(_ATTEMPTS):
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        digest, size = hashlib.sha256(), 0
        try:
            with objects.open_to_read(url) as there, open(temporary, "wb") as here:
                while data := there.read(_AT_ONCE):
                    digest.update(data)
                    size += here.write(data)
            if digest.hexdigest() == sha256:
                os.replace(temporary, path)
                return size
        except OSError as error:
            raise StorageError(f"{path}: expected to write a copy of {url}. Received: {error.strerror}.") from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
    raise InputError(
        f"{url}: expected the content that its folder's description names, sha256 {sha256[:12]}. Received one with "
        f"sha256 {digest.hexdigest()[:12]}, {_ATTEMPTS} times."
    )
