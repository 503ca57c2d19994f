"""Answers of a fine-tuned model for texts.

python -m bert_tf.predict --model runs/labels/model --input texts.txt
echo "Compute the softmax of a tensor." | python -m bert_tf.predict --model runs/labels/model --input -

The input holds one text a line, or is a .jsonl file with {"text": ...}. One JSON object a line is printed:
{"text": ..., "label": ..., "probabilities": {label: probability}}.
"""

import json
import sys
from collections.abc import Sequence

from absl import flags

from bert_tf import command
from bert_tf.errors import InputError


def run(model: str, texts: Sequence[str]) -> list[dict]:
    """One answer a text, from a model directory.

    Raises:
      InputError: not a fine-tuned model directory.
    """
    from bert_tf.serving import loading

    loaded = loading.load(model)
    return loaded.task.predict(loaded.signatures["serving_default"], texts)


def read_texts(path: str) -> list[str]:
    """Texts of a file, of a .jsonl file, or of standard input ("-")."""
    if path == "-":
        # Bytes that are no UTF-8 become U+FFFD, which the tokenizer drops.
        return [line.decode("utf-8", "replace").rstrip("\n") for line in sys.stdin.buffer]
    if path.endswith(".jsonl"):
        from bert_tf.tasks.tables import read_columns

        return read_columns(path, ("text",), "--input")[0]
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file]
    except OSError as error:
        raise InputError(f"--input {path}: expected a file of texts. Received: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"--input {path}: expected UTF-8. Received invalid bytes at {error.start}.") from None


def main(_) -> None:
    for answer in run(flags.FLAGS.model, read_texts(flags.FLAGS.input)):
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory of a fine-tuned model.", required=True)
    flags.DEFINE_string("input", None, "File with one text a line, .jsonl, or - for standard input.", required=True)
    command.run(main)
