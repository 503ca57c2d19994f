"""Model directory -> versioned SavedModel that takes strings and needs no Python."""

import os
import shutil
import tempfile

import keras

from bert_tf.errors import InputError
from bert_tf.serving.loading import load
from bert_tf.serving.signatures import signatures


def export(model_directory: str, output: str) -> str:
    """Writes the next version under `output` (1, 2, ...) and returns its path.

    The version is written under a name that TF Serving does not look at and renamed when it is whole.
    """
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: expected a folder for versions. Received: {error.strerror}.") from None
    loaded = load(model_directory)
    functions = signatures(loaded.task, loaded.model, loaded.tokenizer)
    version = max([0, *versions(output)]) + 1
    temporary = tempfile.mkdtemp(prefix=f".{version}.", suffix=".tmp", dir=output)
    try:
        archive = keras.export.ExportArchive()
        archive.track(loaded.model)
        archive.tokenizer = loaded.tokenizer
        for name, function in functions.items():
            function.get_concrete_function()
            archive.add_endpoint(name, function)
        archive.write_out(temporary, verbose=False)
        os.chmod(temporary, 0o755)  # mkdtemp's 0700 would hide the version from a server of another user
        path = os.path.join(output, str(version))
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def versions(output: str) -> list[int]:
    """The version numbers that are there, ascending."""
    if not os.path.isdir(output):
        return []
    return sorted(
        int(name) for name in os.listdir(output) if name.isdigit() and os.path.isdir(os.path.join(output, name))
    )
