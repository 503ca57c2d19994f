"""A cache of compilations on the disk: what was compiled once is not compiled again.

JAX's own cache of compilations is of no use here: it stores executables, and one that was compiled for a topology
without its devices cannot be serialized (TypeError, JAX 0.8.0). Only what is reported about it is stored.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import os

from bert_tf.core import config_io, whole_file
from bert_tf.core.errors import InputError, StorageError
from bert_tf.preflight import compiling
from bert_tf.preflight.compiling import Compiled, DoesNotFitError, lower
from bert_tf.preflight.step_inputs import StepInputs

_FOLDER = os.path.join("~", ".cache", "bert_tf", "preflight")
# They set options of the compiler.
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")


def compile_step(run: StepInputs, topology: str, global_batch_size: int) -> Compiled:
    """Compiles a step, unless the same program was given to the same compiler before.

    Args:
      run: what is trained.
      topology: such as v5e:2x2.
      global_batch_size: may be other than the run's.

    Raises:
      InputError: see compiling.lower and Lowered.compile.
    """
    lowered = lower(run, topology, global_batch_size)
    key = {
        "program": hashlib.sha256(lowered.text.encode()).hexdigest(),
        "topology": topology,
        "batch": [global_batch_size, run.train.microbatches],
        "compiler": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "variables": {name: os.environ.get(name) for name in _VARIABLES},
        # What is kept, and the sentences of refusals, are of this code.
        "sources": hashlib.sha256(inspect.getsource(compiling).encode()).hexdigest(),
    }
    folder = os.path.expanduser(_FOLDER)
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = os.path.join(folder, f"{name}.json")
    there = _kept(path)
    if there is not None:
        if "refused" in there:
            raise DoesNotFitError(there["refused"], there["memory"])
        return Compiled(**there)
    try:
        compiled = lowered.compile()
    except DoesNotFitError as error:
        _keep(path, {"refused": str(error), "memory": error.memory})
        raise
    _keep(path, dataclasses.asdict(compiled))
    return compiled


def _kept(path: str) -> dict | None:
    with contextlib.suppress(InputError):  # not there, or another process is just writing it
        return config_io.read_json(path)
    return None


def _keep(path: str, found: dict) -> None:
    """Where it can be written; what cannot be kept is compiled again."""
    with contextlib.suppress(OSError, StorageError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        whole_file.write_json(path, found)
