"""The weights in a model directory: one file in safetensors format, or several that an index lists."""

import contextlib
import os
from collections.abc import Iterator

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
def opened(directory: str) -> Iterator[dict]:
    """{canonical name: function that reads the array} of all weights but those that follow from others.

    Raises:
      InputError: a file that cannot be read.
    """
    with contextlib.ExitStack() as stack:
        present = {}
        for name in names_in(directory):
            path = os.path.join(directory, name)
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path}: expected weights in safetensors format. Received: {error}.") from None
            present |= {_canonical(key): _reader(file, key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        # The output matrix is the embedding table, and position_ids is a constant.
        for tied in (
            "cls.predictions.decoder.weight",
            "cls.predictions.decoder.bias",
            "bert.embeddings.position_ids",
        ):
            present.pop(tied, None)
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


def _canonical(name: str) -> str:
    """Encoders are saved with and without the prefix "bert.", old files call LayerNorm's weights gamma and beta."""
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = "bert." + name
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
