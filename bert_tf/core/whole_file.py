"""Files and folders that are there whole or not at all: made under a temporary name, then renamed.

Standard library only.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from bert_tf.core.errors import StorageError


@contextlib.contextmanager
def replacing_path(path: str) -> Iterator[str]:
    """A temporary name to write a file under; the file takes its own name when the block ends without an error.

    Raises:
      StorageError: it cannot be written.
    """
    temporary = f"{path}.tmp"
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise _not_written(path, "file", error) from error
        raise


@contextlib.contextmanager
def replacing(path: str, mode: str = "w") -> Iterator[IO[Any]]:
    """Like `replacing_path`: an open file, "w" for text in UTF-8, "wb" for bytes."""
    with (
        replacing_path(path) as temporary,
        open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file,
    ):
        yield file
        file.flush()


@contextlib.contextmanager
def new_folder(parent: str, prefix: str, finish: Callable[[str], None], *, place: str | None = None) -> Iterator[str]:
    """An empty hidden folder to fill, which is removed if the block ends with an error.

    Args:
      parent: where it is made; made too if it is not there.
      prefix: of its name.
      finish: gives the filled folder its name.
      place: what an error names; None for `parent`.

    Raises:
      StorageError: it cannot be written.
    """
    temporary = None
    try:
        os.makedirs(parent, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=parent)
        os.chmod(temporary, 0o755)  # it was made for this user alone
        yield temporary
        finish(temporary)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise _not_written(place or parent, "folder", error) from None
        raise


@contextlib.contextmanager
def replacing_folder(path: str) -> Iterator[str]:
    """An empty folder to fill, which takes its name when the block ends without an error; an older one is removed then.

    Raises:
      StorageError: it cannot be written.
    """

    def finish(temporary: str) -> None:
        older = f"{temporary}.old"
        if os.path.isdir(path):
            os.rename(path, older)
        try:
            os.rename(temporary, path)
        except OSError:
            if os.path.isdir(older):
                os.rename(older, path)
            raise
        shutil.rmtree(older, ignore_errors=True)

    parent, name = os.path.split(os.path.abspath(path))
    with new_folder(parent, f".{name}.", finish, place=path) as temporary:
        yield temporary


def write_json(path: str, value) -> None:
    """Like `replacing`: a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a path of the command line with bytes that are no UTF-8
        data = (json.dumps(value, indent=2) + "\n").encode()
    with replacing(path, "wb") as file:
        file.write(data)


def _not_written(path: str, kind: str, error: OSError) -> StorageError:
    return StorageError(f"{path}: expected a {kind} that can be written. Received: {error.strerror or error}.")
