"""Answers of a model for texts. bert_tf.predict is its command."""

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bert_tf.core.errors import InputError
from bert_tf.core.stores import objects
from bert_tf.serving import loading
from bert_tf.tasks.shared.truncation import Truncation
from bert_tf.tasks.tagging import conll

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
    return list(answers(loading.load(model, task=task), examples))


def answers(loaded: loading.Loaded, examples: Iterable[str | dict]) -> Iterator[dict]:
    """One answer an example, a thousand examples at a time.

    At the end it reports on standard error how much of them the model did not read.
    """
    truncation: list[Truncation] = []
    placed = (
        {"place": f"text {number}", "text": example} if isinstance(example, str) else example
        for number, example in enumerate(examples, start=1)
    )
    for chunk in chunks(placed, _AT_ONCE):
        yield from loaded.answers(chunk, truncation.append)
    length = loaded.task.data.max_seq_length
    print(f"rows of {length} tokens: {sum(truncation, Truncation())}", file=sys.stderr, flush=True)


def read_texts(path: str, field: str = "--input") -> Iterator[str]:
    """Lines of a file or of standard input ("-"); `field` names it in errors."""
    if path == "-":
        # Bytes that are no UTF-8 become U+FFFD, which the tokenizer drops.
        yield from (line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer)
        return
    try:
        with objects.open_to_read(path) if objects.is_remote(path) else open(path, "rb") as file:
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


def answers_of_file(model: str, path: str, *, task: str | None, **columns: Any) -> Iterator[dict]:
    """Answers for a file of texts or examples, or for standard input ("-"), with progress on standard error.

    Args:
      model: the directory.
      path: one text a line, or a file with the columns of the fine-tuning.
      task: see run.
      **columns: names of columns that differ from those of the fine-tuning.

    Raises:
      InputError: a task that takes more than a text, and no columns.
    """
    loaded = loading.load(model, task=task, **columns)
    ending = os.path.splitext(path)[1]
    # .txt has one text a line here.
    columned = {".jsonl", ".csv", ".tsv", ".json", *conll.ENDINGS} - {".txt"}
    if ending in columned or path.startswith("tfds:"):
        examples: Iterable = loaded.task.read(loaded.task.data, path, "--input", labelled=False)
    elif loaded.task.takes_texts and len(loaded.task.inputs()) == 1:
        examples = read_texts(path)
    else:
        raise InputError(
            f"--input {path}: expected .jsonl, .csv or .tsv: {loaded.task.name} needs more than one column."
        )
    return _progress(answers(loaded, examples))
