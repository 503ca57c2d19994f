"""A copy of a run's workdir elsewhere, such as gs://, for machines whose disks go when they go."""

import os

import tensorflow as tf

from bert_tf.errors import InputError, StorageError

_CHECKPOINTS = "checkpoints"
_UNFINISHED = (".tmp", ".broken")


class Mirror:
    """Copies a workdir to a folder of any file system that TensorFlow writes to, and back into an empty workdir.

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

    def fetch(self) -> None:
        """Makes the folder, and fills a workdir that holds no run yet.

        Raises:
          InputError: the folder cannot be made or read.
        """
        if not self._url:
            return
        try:
            tf.io.gfile.makedirs(self._url)
            if os.path.exists(os.path.join(self._workdir, "config.json")):
                return
            names = sorted(self._there(), key=lambda name: name == "config.json")
            for name in names:
                # config.json last: a workdir that has it needs nothing more.
                path = os.path.join(self._workdir, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                tf.io.gfile.copy(f"{self._url}/{name}", f"{path}.tmp", overwrite=True)
                os.replace(f"{path}.tmp", path)
        except (tf.errors.OpError, OSError) as error:
            raise InputError(
                f"train.mirror={self._url}: expected a folder that can be made and read. Received: {_reason(error)}."
            ) from None
        if names:
            print(f"{self._workdir}: filled with {len(names)} files of {self._url}", flush=True)

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
                if self._copied.get(name) != here[name]:
                    self._copy(name)
                    self._copied[name] = here[name]
            for name in self._there():
                if name.startswith(f"{_CHECKPOINTS}/") and name not in here:
                    tf.io.gfile.remove(f"{self._url}/{name}")
                    self._copied.pop(name, None)
        except (tf.errors.OpError, OSError) as error:
            raise StorageError(
                f"train.mirror={self._url}: expected a folder that can be written. Received: {_reason(error)}. "
                "The workdir is whole; the same command goes on."
            ) from None

    def try_push(self) -> None:
        """push, but what fails is told and tried again with the next checkpoint: no reason to stop a run."""
        try:
            self.push()
        except StorageError as error:
            print(f"warning: {error}", flush=True)

    def _copy(self, name: str) -> None:
        target = f"{self._url}/{name}"
        tf.io.gfile.makedirs(os.path.dirname(target))
        tf.io.gfile.copy(os.path.join(self._workdir, name), f"{target}.tmp", overwrite=True)
        tf.io.gfile.rename(f"{target}.tmp", target, overwrite=True)

    def _here(self) -> dict[str, tuple[int, int]]:
        """{name: size and time of modification}."""
        found = {}
        for folder, _, names in os.walk(self._workdir):
            for name in names:
                path = os.path.join(folder, name)
                if not name.endswith(_UNFINISHED):
                    status = os.stat(path)
                    found[os.path.relpath(path, self._workdir)] = (status.st_size, status.st_mtime_ns)
        return found

    def _there(self) -> list[str]:
        found = []
        for folder, _, names in tf.io.gfile.walk(self._url):
            inner = folder[len(self._url) :].strip("/")
            found += [f"{inner}/{name}".lstrip("/") for name in names if not name.endswith(_UNFINISHED)]
        return found


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", None) or getattr(error, "strerror", None) or error).rstrip(".")
