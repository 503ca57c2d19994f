"""The weights in a model directory: one file in safetensors format, or several that an index lists."""

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bert_tf.core import config_io
from bert_tf.core.errors import InputError, StorageError

WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def names_in(directory: str) -> list[str]:
    """The files, none if there is no weight."""
    if os.path.isfile(os.path.join(directory, WEIGHTS)):
        return [WEIGHTS]
    index = os.path.join(directory, _INDEX)
    if not os.path.isfile(index):
        return []
    return sorted(set(config_io.read_json(index).get("weight_map", {}).values()))


@contextlib.contextmanager
def opened(directory: str, canonical_name: Callable[[str], str | None]) -> Iterator[dict]:
    """{canonical name: function that reads the array} of all weights but those that follow from others.

    Args:
      directory: that holds the files.
      canonical_name: see Family.

    Raises:
      InputError: a file that cannot be read.
    """
    with contextlib.ExitStack() as stack:
        present = {}
        for file_name in names_in(directory):
            path = os.path.join(directory, file_name)
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path}: expected weights in safetensors format. Received: {error}.") from None
            for key in file.keys():  # noqa: SIM118 - it is no dict
                name = canonical_name(key)
                if name is not None:
                    present[name] = _reader(file, key)
        yield present


def write(path: str, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes one file.

    Raises:
      StorageError: it cannot be written.
    """
    try:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: expected a file that can be written. Received: {error}.") from None


def _reader(file, key: str):
    return lambda: file.get_tensor(key)
