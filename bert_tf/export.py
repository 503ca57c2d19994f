"""Exports a task's model as a SavedModel for TF Serving.

python -m bert_tf.export --model runs/labels/model --output models/labels

Writes models/labels/1, then 2, and so on. The signature serving_default takes strings and answers as bert_tf.predict
does; the tokenizer is in the graph. docs/serving.md tells of all signatures, and so does assets.extra/bert_tf.json in
the version. A version gets its number only when a fresh process without this project has given the Keras model's
answers to its warm-up requests.
"""

import os

from absl import flags

from bert_tf.core import command

_DTYPES = ("float32", "bfloat16", "float16")


def main(_) -> None:
    # The process that checks the version could not share a GPU with this one, nor would it round alike without it.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from bert_tf.serving.export import saved_model

    values = flags.FLAGS
    path = saved_model.export(
        values.model, values.output, task=values.task, dtype=values.dtype, tflite_dtype=values.tflite
    )
    print(f"SavedModel in {path}")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory.", required=True)
    flags.DEFINE_string("output", None, "Folder for versions, such as models/NAME.", required=True)
    flags.DEFINE_string("task", None, "What to serve, where it is not what the model was made for.")
    flags.DEFINE_enum("dtype", "float32", _DTYPES, "Of weights and activations; the narrow ones want a GPU or TPU.")
    flags.DEFINE_enum(
        "tflite",
        "none",
        ("none", "float32", "int8"),
        "Also write assets.extra/tokens.tflite, the signature tokens for TensorFlow Lite; int8 quantizes the weights.",
    )
    command.run(main)
