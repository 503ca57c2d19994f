"""Files and folders that are there whole or not at all: made under a temporary name, then renamed.

Standard library only.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from bert_tf.core.errors import StorageError


@contextlib.contextmanager
def replacing(path: str, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write to, which takes its name when the block ends without an error.

    Args:
      path: local.
      mode: "w" for text in UTF-8, "wb" for bytes.

    Raises:
      StorageError: it cannot be written.
    """
    temporary = f"{path}.tmp"
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise _not_written(path, "file", error) from None
        raise


@contextlib.contextmanager
def replacing_folder(path: str) -> Iterator[str]:
    """An empty folder to fill, which takes its name when the block ends without an error; an older one is removed then.

    Raises:
      StorageError: it cannot be written.
    """
    parent, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(parent, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    except OSError as error:
        raise _not_written(path, "folder", error) from None
    older = f"{temporary}.old"
    try:
        os.chmod(temporary, 0o755)  # it was made for this user alone
        yield temporary
        if os.path.isdir(path):
            os.rename(path, older)
        os.rename(temporary, path)
        shutil.rmtree(older, ignore_errors=True)
    except BaseException as error:
        if os.path.isdir(older) and not os.path.exists(path):
            os.rename(older, path)
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise _not_written(path, "folder", error) from None
        raise


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
