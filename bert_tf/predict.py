"""Answers of a model for texts.

python -m bert_tf.predict --model runs/labels/model --input texts.txt
echo "Compute the softmax of a tensor." | python -m bert_tf.predict --model runs/labels/model --input -
echo "Compute the [MASK] of a tensor." | python -m bert_tf.predict --model runs/tiny/model --input -

The input holds one text a line, or is a .jsonl, .csv or .tsv file with the columns of the model's fine-tuning, .json as
SQuAD has it, or .conll. One JSON object a line comes out, such as {"text": ..., "label": ..., "probabilities": {label:
probability}}. A model that is only pretrained fills [MASK]; --task=next_sentence asks it for pairs.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError

_AT_ONCE = 1024
_TOLD_EVERY = 10.0  # seconds


def run(model: str, examples: Sequence[str | dict], task: str | None = None) -> list[dict]:
    """One answer an example, from a model directory.

    Args:
      model: the directory.
      examples: texts, or dicts as the task has them.
      task: its name; None for the one that the model was made for.

    Raises:
      InputError: not a fine-tuned model directory.
    """
    from bert_tf.serving import loading

    return list(answers(loading.load(model, task=task), examples))


def answers(loaded, examples: Iterable[str | dict]) -> Iterator[dict]:
    """One answer an example, a thousand examples at a time."""
    placed = (
        {"place": f"text {number}", "text": example} if isinstance(example, str) else example
        for number, example in enumerate(examples, start=1)
    )
    for chunk in chunks(placed, _AT_ONCE):
        yield from loaded.answers(chunk)


def read_texts(path: str, field: str = "--input") -> Iterator[str]:
    """Lines of a file or of standard input ("-"); `field` names it in errors."""
    if path == "-":
        # Bytes that are no UTF-8 become U+FFFD, which the tokenizer drops.
        yield from (line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer)
        return
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    raise InputError(f"{field} {path}: line {number}: expected UTF-8. Received other bytes.") from None
    except OSError as error:
        raise InputError(f"{field} {path}: expected a file of texts. Received: {error.strerror}.") from None


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last of which may be shorter."""
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _progress(found: Iterable[dict]) -> Iterator[dict]:
    began = told = time.monotonic()
    for count, answer in enumerate(found, start=1):
        yield answer
        if time.monotonic() - told > _TOLD_EVERY:
            told = time.monotonic()
            print(f"{count:,} answers, {count / (told - began):.0f} a second", file=sys.stderr, flush=True)


def main(_) -> None:
    from bert_tf.serving import loading

    path = flags.FLAGS.input
    names = ("text_field", "second_text_field")
    loaded = loading.load(
        flags.FLAGS.model, task=flags.FLAGS.task, **{name: getattr(flags.FLAGS, name) for name in names}
    )
    ending = os.path.splitext(path)[1]
    if ending in (".jsonl", ".csv", ".tsv", ".json", ".conll") or path.startswith("tfds:"):
        examples = loaded.task.read(loaded.task.data, path, "--input", labelled=False)
    elif loaded.task.takes_texts and loaded.task.data.second_text_field is None or loaded.task.name == "embedding":
        examples = read_texts(path)
    else:
        raise InputError(
            f"--input {path}: expected .jsonl, .csv or .tsv, for a {loaded.task.name} takes more than a text."
        )
    for answer in _progress(answers(loaded, examples)):
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory.", required=True)
    flags.DEFINE_string("input", None, "File of texts or examples, or - for texts on standard input.", required=True)
    flags.DEFINE_string("task", None, "What to ask, where it is not what the model was fine-tuned for.")
    flags.DEFINE_string("text_field", None, "Column of the text, where it is not that of the fine-tuning.")
    flags.DEFINE_string("second_text_field", None, "Column of the second text, likewise.")
    command.run(main)
