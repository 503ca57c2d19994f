"""The signature `tokens` for TensorFlow Lite: phones, and processors without a server."""

import os

import tensorflow as tf

from bert_tf.serving.export.signatures import Signature

PATH = os.path.join("assets.extra", "tokens.tflite")


def write(path: str, tokens: Signature, dtype: str) -> None:
    """Writes PATH into the version folder `path`, for one row.

    int8 is TensorFlow Lite's dynamic-range quantization: weights in 8 bits, a quarter of the size, activations
    quantized as they come.

    Raises:
      ValueError: the converter found an op that TensorFlow Lite has not.
    """
    specs = [
        tf.TensorSpec([1, *(2 if size is None else size for size in spec.shape[1:])], spec.dtype, spec.name)
        for spec in tokens.function.input_signature
    ]
    # Without the names, since the converter's inputs are told by position.
    concrete = tf.function(tokens.function.python_function, input_signature=specs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    model = converter.convert()
    os.makedirs(os.path.dirname(os.path.join(path, PATH)), exist_ok=True)
    with open(os.path.join(path, PATH), "wb") as file:
        file.write(model)
    print(f"{PATH}: {len(model) / 1e6:.1f} MB", flush=True)
