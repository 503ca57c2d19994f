"""Examples of each task as the lines of a file, and a small SavedModel that fails on request."""

import json
import os

import tensorflow as tf

# task: {column of the file: key of an example of served_models}, as the models of served_models were fine-tuned.
COLUMNS: dict[str, dict[str, str]] = {
    "regression": {"text": "text", "other": "second_text"},
    "question_answering": {"question": "text", "context": "context"},
    "multiple_choice": {"text": "text", "choices": "choices", "beginning": "stem"},
    "next_sentence": {"text": "text", "second_text": "second_text"},
}


def rows(name: str, examples: list[dict]) -> list[dict]:
    """The rows of a file for examples of a task; each has a number, too."""
    columns = COLUMNS.get(name, {"text": "text"})
    return [
        {column: example[key] for column, key in columns.items()} | {"number": number}
        for number, example in enumerate(examples)
    ]


def write_lines(path, values: list[dict]) -> str:
    """Writes JSON lines."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


def write_failing_model(path: str) -> None:
    """A SavedModel that gives the number of bytes of a text, fails on "fail" and gives NaN for "nan"."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(text != "fail"), ["a text that fails"])]):
            value = tf.cast(tf.strings.length(text), tf.float32)
        return {"value": tf.where(text == "nan", float("nan"), value)}

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, path, signatures={"serving_default": serve})
    signature = {
        "method": "predict",
        "inputs": {"text": {"dtype": "string", "shape": [None]}},
        "outputs": {"value": {"dtype": "float32", "shape": [None]}},
        "fields": {"text": "text"},
        "counts": {},
    }
    os.makedirs(os.path.join(path, "assets.extra"))
    with open(os.path.join(path, "assets.extra", "bert_tf.json"), "w") as file:
        json.dump({"task": "regression", "signatures": {"serving_default": signature}}, file)
