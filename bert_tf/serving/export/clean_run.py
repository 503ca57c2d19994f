"""Runs SavedModels as a server would: with tensorflow and tensorflow_text and nothing of this project.

python -I clean_run.py VERSION_FOLDER REQUESTS.pickle ANSWERS.pickle [the same three again, of another model]

REQUESTS: a list of (signature, {input: array}); ANSWERS: a list of {output: array}. bert_tf.export starts it.
"""

import pickle
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer


def main(folder: str, requests: str, answers: str) -> None:
    signatures = tf.saved_model.load(folder).signatures
    with open(requests, "rb") as file:
        found = [
            {
                key: value.numpy()
                for key, value in signatures[name](**{k: tf.constant(x) for k, x in inputs.items()}).items()
            }
            for name, inputs in pickle.load(file)
        ]
    if any(module.split(".")[0] == "bert_tf" for module in sys.modules):
        sys.exit("bert_tf was imported")
    with open(answers, "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    for place in range(1, len(sys.argv), 3):
        main(*sys.argv[place : place + 3])
