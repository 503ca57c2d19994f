"""Which batch a step of a run took: batches that were left out after a NaN or infinite loss move those behind them.

`skipped_batches.json` in the workdir lists [step, skipped] pairs, ascending: the steps behind `step` took the batch of
their own number plus `skipped`. A run that skipped nothing has no such file. Standard library only.
"""

import json
import os

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError

_NAME = "skipped_batches.json"


def note(workdir: str, step: int, skipped: int) -> None:
    """Notes how many batches are skipped before the steps behind `step`, where a run begins, resumes or rewinds."""
    there = _read(workdir)
    kept = [pair for pair in there if pair[0] < step]
    if skipped != (kept[-1][1] if kept else 0):
        kept.append([step, skipped])
    if kept != there:
        whole_file.write_json(os.path.join(workdir, _NAME), kept)


def batch_of(workdir: str, step: int) -> int:
    """The number of the batch, from 0, that a step, from 1, took.

    Raises:
      InputError: the notes cannot be read.
    """
    return step - 1 + next((skipped for begin, skipped in reversed(_read(workdir)) if begin < step), 0)


def _read(workdir: str) -> list[list[int]]:
    path = os.path.join(workdir, _NAME)
    try:
        with open(path, encoding="utf-8") as file:
            return [[int(step), int(skipped)] for step, skipped in json.load(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected the batches that the run skipped. Received: {error}.") from None
