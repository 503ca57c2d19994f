"""Model directory -> versioned SavedModel that takes strings and needs no Python."""

import importlib.metadata
import json
import os

import keras
import tensorflow as tf

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError
from bert_tf.serving.export import gate, publishing, tflite, warm_up
from bert_tf.serving.export.fusion import fuse_for_serving
from bert_tf.serving.export.signatures import Signature, signatures
from bert_tf.serving.loading import Loaded, load

DESCRIPTION = os.path.join("assets.extra", "bert_tf.json")
_METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
_PACKAGES = ("tensorflow", "tensorflow-text", "keras")


def export(
    model_directory: str, output: str, *, task: str | None = None, dtype: str = "float32", tflite_dtype: str = "none"
) -> str:
    """Writes the next version under `output` (1, 2, ...) and returns its path.

    The version is written under a name that TF Serving does not look at, goes through the gate (gate.py) and is
    renamed when it has passed.

    Args:
      model_directory: of a task's model.
      output: folder of versions; its name is the model's in the warm-up requests.
      task: what to serve, where it is not what the model was made for.
      dtype: of weights and activations: float32, bfloat16 or float16.
      tflite_dtype: none, float32 or int8: also writes the signature `tokens` for TensorFlow Lite.

    Raises:
      InputError: not a model directory, a folder that cannot be written, or a version that did not pass.
    """
    if tflite_dtype != "none" and dtype != "float32":
        raise InputError(f"--tflite {tflite_dtype}: expected --dtype float32, for TensorFlow Lite. Received: {dtype}.")
    loaded = load(model_directory, task=task, dtype=dtype)
    named: list[str] = []

    def name_it(temporary: str) -> None:
        named.append(publishing.publish(temporary, output, first=DESCRIPTION))

    parent = publishing.place_to_write(output)
    with whole_file.new_folder(parent, ".export.", name_it, place=output) as temporary:
        trained = signatures(loaded.task, loaded.model, loaded.graph.tokenizer)
        requests = warm_up.requests(loaded.task, trained)
        expected = gate.answers_here(trained, requests)
        if tflite_dtype != "none":  # from the plain network, whose GELU TensorFlow Lite knows
            tflite.write(temporary, trained["tokens"], tflite_dtype)
        fuse_for_serving(loaded.model)
        made = signatures(loaded.task, loaded.model, loaded.graph.tokenizer)
        if dtype != "float32":
            # A narrow type rounds otherwise where weights lie otherwise: near ties fall to the other side.
            expected = gate.answers_here(made, requests)
        _write(temporary, loaded, made, dtype)
        name = os.path.basename(os.path.abspath(output))
        warm_up.write(temporary, name, made, requests)
        gate.check_ops(temporary)
        # Narrow types round otherwise where a graph is optimized otherwise.
        worst = gate.check_answers(
            requests,
            gate.run_clean(temporary, warm_up.read(temporary)),
            expected,
            tolerance=1e-5 if dtype == "float32" else 0.05,
            strict=dtype == "float32",
        )
        print(
            f"{len(made)} signatures, {len(requests)} warm-up requests: a fresh process gives the Keras model's "
            f"answers within {worst:.1e}",
            flush=True,
        )
        if dtype != "float32":
            _compare_with_float32(model_directory, task, requests, expected)
    return named[0]


def _write(path: str, loaded: Loaded, made: dict[str, Signature], dtype: str) -> None:
    archive = keras.export.ExportArchive()
    # The model itself is not tracked: its variables that no signature uses are not saved.
    archive.track(loaded.graph.tokenizer)  # its tables, where it has some
    for name, signature in made.items():
        signature.function.get_concrete_function()
        archive.add_endpoint(name, signature.function)
    archive.write_out(path, verbose=False)
    methods = {name: _METHODS[s.method] for name, s in made.items() if s.method in _METHODS}
    if methods:
        updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
        for name, method in methods.items():
            updater.replace_method_name(signature_key=name, method_name=method, tags=["serve"])
        updater.save()
    os.makedirs(os.path.join(path, os.path.dirname(DESCRIPTION)), exist_ok=True)
    with open(os.path.join(path, DESCRIPTION), "w", encoding="utf-8") as file:
        json.dump(_description(loaded, made, dtype), file, indent=2, ensure_ascii=False)


def _description(loaded: Loaded, made: dict[str, Signature], dtype: str) -> dict:
    task = loaded.task
    fields, counts = task.fields(), task.counts()

    def told(texts: dict[str, str], specs: dict[str, tf.TensorSpec]) -> dict:
        return {
            name: {"dtype": specs[name].dtype.name, "shape": specs[name].shape.as_list(), "what": text}
            for name, text in texts.items()
        }

    return {
        "task": task.name,
        "labels": task.labels,
        "max_seq_length": task.data.max_seq_length,
        "too_long": task.too_long,
        "dtype": dtype,
        "made_with": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "settings": task.told(),
        "signatures": {
            name: {
                "method": signature.method,
                "inputs": told(signature.inputs, {spec.name: spec for spec in signature.function.input_signature}),
                "outputs": told(signature.outputs, signature.function.get_concrete_function().structured_outputs),
                # How files of examples are read and written: pipelines/prediction knows no task.
                "fields": {name: fields.get(name, name) for name in signature.inputs},
                "counts": {name: counts[name] for name in signature.outputs if name in counts},
            }
            for name, signature in made.items()
        },
    }


def _compare_with_float32(model_directory: str, task: str | None, requests: list, found: list[dict]) -> None:
    """Tells how far the narrow type is from float32."""
    loaded = load(model_directory, task=task)
    made = signatures(loaded.task, loaded.model, loaded.graph.tokenizer)
    worst = max(
        (
            float(abs(ours[key] - values).max(initial=0.0))
            for ours, theirs in zip(found, gate.answers_here(made, requests), strict=True)
            for key, values in theirs.items()
            if values.dtype == "float32" and values.shape == ours[key].shape
        ),
        default=0.0,
    )
    print(f"largest difference from float32 in the warm-up requests' answers: {worst:.1e}", flush=True)
