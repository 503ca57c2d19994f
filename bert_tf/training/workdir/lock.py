"""One run at a time in a workdir."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from bert_tf.core.errors import InputError, StorageError


@contextlib.contextmanager
def held(workdir: str, is_chief: bool = True) -> Iterator[None]:
    """Makes a workdir if there is none, and keeps other runs out until the block or the process ends, however it ends.

    The kernel keeps the lock, on the folder itself. File systems without locks, such as some that are mounted over a
    network, guard nothing.

    Args:
      workdir: the folder.
      is_chief: of several workers only one holds it.

    Raises:
      InputError: it cannot be made.
      StorageError: another process holds it.
    """
    if not is_chief:
        yield
        return
    try:
        os.makedirs(workdir, exist_ok=True)
        folder = os.open(workdir, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"--workdir {workdir}: expected a folder that can be written. Received: {error.strerror}."
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise StorageError(
            f"--workdir {workdir}: expected a folder in which no other run is at work. Received one that a process is "
            "writing to; wait for it, stop it, or take another folder."
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(folder)
