"""What an exported version must pass before it gets its name."""

import importlib.resources
import os
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf.core.errors import InputError
from bert_tf.serving.export import clean_run

_OPS = "allowed_ops.txt"
_PATIENCE = 1800  # seconds; a large model on a busy machine takes minutes


def allowed_ops() -> set[str]:
    """Ops that TF Serving has from 2.14 on, of those that exports use."""
    text = importlib.resources.files(__package__).joinpath(_OPS).read_text()
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def check_ops(path: str) -> None:
    """Refuses ops that a server may lack or that need Python, and functions that must be compiled.

    Raises:
      InputError: naming the op and where it is.
    """
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    allowed = allowed_ops()
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        functions = {function.signature.name: function for function in graph.library.function}
        scopes = {"the graph": (graph.node, None)} | {
            name: (function.node_def, function.attr) for name, function in functions.items()
        }
        for scope, (nodes, attributes) in scopes.items():
            if attributes is not None and attributes["_XlaMustCompile"].b:
                raise InputError(
                    f"{path}: expected functions that need no compiler. Received _XlaMustCompile in {scope}."
                )
            for node in nodes:
                if node.op not in allowed and node.op not in functions:
                    raise InputError(
                        f"{path}: expected ops that TF Serving 2.14 and later have. Received {node.op} ({node.name} in "
                        f"{scope})."
                    )
                if node.attr["_XlaMustCompile"].b:
                    raise InputError(f"{path}: expected ops that need no compiler. Received {node.name} in {scope}.")


def run_clean(path: str, requests: list[tuple[str, dict[str, np.ndarray]]]) -> list[dict[str, np.ndarray]]:
    """The answers of a version in a fresh process that imports tensorflow and tensorflow_text only.

    Raises:
      InputError: it could not be loaded or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("requests.pickle", "answers.pickle")]
        with open(files[0], "wb") as file:
            pickle.dump(requests, file)
        try:
            done = subprocess.run(
                [sys.executable, "-I", clean_run.__file__, path, *files],
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{path}: expected a SavedModel that answers its warm-up requests. Received none within {_PATIENCE} s."
            ) from None
        if done.returncode:
            last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise InputError(f"{path}: expected a SavedModel that a fresh process runs. Received: {last}.")
        with open(files[1], "rb") as file:
            return pickle.load(file)


def check_answers(
    requests: list[tuple[str, dict]], found: list[dict], expected: list[dict], *, tolerance: float, strict: bool = True
) -> float:
    """The largest difference of all numbers; not strict: strings may differ, where near ties fall otherwise.

    Raises:
      InputError: a difference above `tolerance`, or other strings or shapes.
    """
    worst = 0.0
    for (name, _), ours, theirs in zip(requests, found, expected, strict=True):
        if set(ours) != set(theirs):
            raise InputError(f"{name}: expected the outputs {sorted(theirs)}. Received {sorted(ours)}.")
        for key, values in theirs.items():
            place = f"{name}: {key}"
            if ours[key].shape != values.shape:
                raise InputError(f"{place}: expected the shape {values.shape}. Received {ours[key].shape}.")
            if values.dtype == object:
                if strict and (ours[key] != values).any():
                    raise InputError(f"{place}: expected the strings that the Keras model gives. Received others.")
                continue
            # Of numbers above 1 the share of them, which float32 knows to seven digits.
            scale = np.maximum(np.abs(values), 1.0)
            difference = float((np.abs(ours[key].astype(np.float64) - values) / scale).max(initial=0.0))
            if not difference <= tolerance:
                raise InputError(
                    f"{place}: expected what the Keras model gives. Received up to {difference:.1e} more or less."
                )
            worst = max(worst, difference)
    return worst


def answers_here(signatures: dict, requests: list[tuple[str, dict]]) -> list[dict[str, np.ndarray]]:
    """The answers of signatures of this process' Keras model, op by op: no graph that an optimizer has been at."""
    found = []
    for name, inputs in requests:
        function = signatures[name].function
        outputs = function.python_function(*(tf.constant(inputs[spec.name]) for spec in function.input_signature))
        found.append({key: value.numpy() for key, value in outputs.items()})
    return found
