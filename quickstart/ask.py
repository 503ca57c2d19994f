"""Asks a SavedModel three questions, with nothing but tensorflow and tensorflow_text imported.

python quickstart/ask.py models/NAME/1 answers.json
"""

import json
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer

QUESTIONS = [
    "Fit the estimator on the training set X and the target values y, and return the fitted classifier.",
    "Compute the probability density function and the cumulative distribution of a random variable.",
    "A PTransform that applies a DoFn to every element of the input PCollection and returns a PCollection.",
]


def main(model: str, output: str) -> None:
    answer = tf.saved_model.load(model).signatures["serving_default"](text=tf.constant(QUESTIONS))
    rows = []
    for question, label, probabilities in zip(
        QUESTIONS, answer["label"].numpy(), answer["probabilities"].numpy(), strict=True
    ):
        rows.append({"question": question, "label": label.decode(), "probability": float(probabilities.max())})
        print(f"{rows[-1]['label']:<16}{rows[-1]['probability']:5.1%}  {question}")
    foreign = sorted({name.split(".")[0] for name in sys.modules} & {"bert_tf", "pipelines", "apache_beam"})
    with open(output, "w", encoding="utf-8") as file:
        json.dump({"answers": rows, "project_modules_imported": foreign}, file, indent=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
