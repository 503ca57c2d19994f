"""A copy of a run's workdir elsewhere, such as gs://, for machines whose disks go when they go."""

import os
import tempfile
from collections.abc import Iterable

from bert_tf.core import config_io
from bert_tf.core.errors import InputError, StorageError, reason_of
from bert_tf.core.stores import objects

_CONFIG, _CHECKPOINTS = "config.json", "checkpoints/step-"
_UNFINISHED = (".tmp", ".broken")


class Mirror:
    """Copies a workdir to a folder on s3://, gs:// or a mounted file system, and back into an empty workdir.

    A file gets its name there when it is whole. Checkpoints go last, so that what the other files tell is never behind
    the newest checkpoint; what was told after it is told again by the run that goes on, as after any kill.

    Args:
      workdir: of the run.
      url: folder of the copy; "" for none, which makes everything here do nothing.
    """

    def __init__(self, workdir: str, url: str):
        self._workdir = workdir
        self._url = url.rstrip("/")  # an object store takes a//b for another folder than a/b
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of modification of what lies there

    def fetch(self, config) -> None:
        """Makes the folder, and fills a workdir that holds no run yet or an earlier state of it.

        Args:
          config: of the run, which must be that of the copy.

        Raises:
          InputError: the folder cannot be made or read, lies in the workdir, or has another run's copy.
        """
        if not self._url:
            return
        self._check_place()
        try:
            there = self._there()
            if _CONFIG in there:
                with tempfile.TemporaryDirectory() as folder:
                    path = os.path.join(folder, _CONFIG)
                    objects.copy(f"{self._url}/{_CONFIG}", path)
                    config_io.check_same(config, path, f"train.mirror={self._url}")
            # A machine may come back with its old disk after another one went on.
            if os.path.exists(os.path.join(self._workdir, _CONFIG)) and _newest(there) <= _newest(self._here()):
                return
            # A workdir that has config.json and the newest checkpoint needs nothing more: these two last.
            for name in sorted(there, key=lambda name: (name == _CONFIG, name.startswith(_CHECKPOINTS), name)):
                path = os.path.join(self._workdir, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                objects.copy(f"{self._url}/{name}", path)
            self._copied = self._here()
        except OSError as error:
            raise InputError(
                f"train.mirror={self._url}: expected a folder that can be read. Received: {error.strerror}."
            ) from None
        except StorageError as error:
            raise InputError(f"train.mirror={self._url}: {error}") from None
        if there:
            print(f"{self._workdir}: filled with {len(there)} files of {self._url}", flush=True)

    def _check_place(self) -> None:
        """A copy inside of what is copied would grow with every copy."""
        if "://" not in self._url:
            workdir, copy = os.path.realpath(self._workdir), os.path.realpath(self._url)
            if os.path.commonpath([workdir, copy]) == workdir:
                raise InputError(f"train.mirror={self._url}: expected a folder outside of --workdir {self._workdir}.")

    def push(self) -> None:
        """Copies what is new, and removes checkpoints that the workdir has no more.

        Raises:
          StorageError: something could not be copied. What lay there before still does.
        """
        if not self._url:
            return
        try:
            here = self._here()
            for name in sorted(here, key=lambda name: (name.startswith(_CHECKPOINTS), name)):
                if self._copied.get(name) != here[name] and self._copy(name):
                    self._copied[name] = here[name]
            newest = _newest(here)
            for name in self._there():
                # A newer one goes only if this process put it there and rewound: another machine may have gone on.
                if name.startswith(_CHECKPOINTS) and name not in here and (name < newest or name in self._copied):
                    objects.delete([f"{self._url}/{name}"])
                    self._copied.pop(name, None)
        except (StorageError, OSError) as error:
            raise StorageError(
                f"train.mirror={self._url}: expected a folder that can be written. Received: {reason_of(error)}. "
                "The workdir is whole; the same command goes on."
            ) from None

    def try_push(self) -> None:
        """push, but what fails is told and tried again with the next checkpoint: no reason to stop a run."""
        try:
            self.push()
        except StorageError as error:
            print(f"warning: {error}", flush=True)

    def _copy(self, name: str) -> bool:
        """Whether the file was still there: the run replaces and removes files meanwhile."""
        source = os.path.join(self._workdir, name)
        try:
            objects.copy(source, f"{self._url}/{name}")
        except FileNotFoundError:
            if os.path.exists(source):
                raise
            return False
        return True

    def _here(self) -> dict[str, tuple[int, int]]:
        """{name: size and time of modification}."""
        found = {}
        for folder, folders, names in os.walk(self._workdir):
            # What is being written has a hidden folder until it is whole.
            folders[:] = [inner for inner in folders if not inner.startswith(".")]
            for name in names:
                path = os.path.join(folder, name)
                if not name.endswith(_UNFINISHED):
                    try:
                        status = os.stat(path)
                    except FileNotFoundError:  # gone since it was listed
                        continue
                    found[os.path.relpath(path, self._workdir)] = (status.st_size, status.st_mtime_ns)
        return found

    def _there(self) -> list[str]:
        return [name for name in objects.below(self._url) if not name.endswith(_UNFINISHED)]


def _newest(names: Iterable[str]) -> str:
    """The checkpoint of the latest step; "" for none."""
    return max((name for name in names if name.startswith(_CHECKPOINTS)), default="")
