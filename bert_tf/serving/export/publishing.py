"""Gives a finished SavedModel the next version's number, in a local folder or on a store.

A local folder is renamed. A store has no folders to rename, so there the files are uploaded, saved_model.pb last:
without it, a version is none for TF Serving and for this module.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time

from bert_tf.core.errors import StorageError
from bert_tf.core.stores import objects

_GRAPH = "saved_model.pb"
_ABANDONED = 3600.0  # seconds after its last file: an upload that goes on for longer than that is none


def place_to_write(output: str) -> str:
    """The local folder to write a version in.

    Raises:
      StorageError: a store that cannot be read.
    """
    if not objects.is_remote(output):
        return output
    objects.below(output)
    return tempfile.gettempdir()


def publish(temporary: str, output: str, *, first: str) -> str:
    """Gives a folder its number under `output` and returns its path.

    Args:
      temporary: the folder, which is gone afterwards.
      output: folder of versions.
      first: a file of the folder, which is uploaded first: of two exports at the same time, one gets the number.
    """
    if objects.is_remote(output):
        return _uploaded(temporary, output, first)
    while True:
        path = os.path.join(output, str(max([0, *versions(output)]) + 1))
        try:
            os.rename(temporary, path)
        except OSError as error:
            # Another export was faster.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            continue
        return path


def _uploaded(temporary: str, output: str, first: str) -> str:
    there = objects.below(output)
    numbers = {int(found.group(1)) for name in there if (found := re.match("([0-9]+)/", name))}
    for number in sorted(numbers):
        files = {name: status for name, status in there.items() if name.startswith(f"{number}/")}
        is_old = time.time() - max(status.modified for status in files.values()) > _ABANDONED
        if f"{number}/{_GRAPH}" not in files and is_old:
            objects.delete([status.key for status in files.values()])
            print(f"{output}: version {number} was never finished; it is removed.", flush=True)
    path = _claimed(temporary, output, first, max([0, *numbers]) + 1)
    names = [
        os.path.relpath(os.path.join(folder, name), temporary)
        for folder, _, files in os.walk(temporary)
        for name in files
    ]
    uploaded: list[str] = [first]
    try:
        for name in sorted(set(names) - {first}, key=lambda name: (name == _GRAPH, name)):
            uploaded.append(name)
            objects.copy(os.path.join(temporary, name), objects.join(path, name))
    except BaseException:
        with contextlib.suppress(StorageError):
            objects.delete([objects.join(path, name) for name in uploaded])
        raise
    shutil.rmtree(temporary)
    return path


def _claimed(temporary: str, output: str, first: str, number: int) -> str:
    with open(os.path.join(temporary, first), "rb") as file:
        data = file.read()
    while objects.stat(objects.join(output, str(number), first)):
        number += 1
    path = objects.join(output, str(number))
    objects.write_bytes(objects.join(path, first), data, if_absent=True)
    return path


def versions(output: str) -> dict[int, str]:
    """{version: its folder's name} of those that are in a local folder, ascending."""
    if not os.path.isdir(output):
        return {}
    found = [name for name in os.listdir(output) if re.fullmatch("[0-9]+", name)]
    return {int(name): name for name in sorted(found, key=int) if os.path.isdir(os.path.join(output, name))}
