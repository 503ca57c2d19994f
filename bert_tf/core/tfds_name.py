"""The name of a TFDS dataset where a file may also be named: tfds:NAME[/CONFIG][:SPLIT] or tfds:FOLDER[:SPLIT].

Standard library only.
"""

import re

from bert_tf.core.errors import InputError

PREFIX = "tfds:"
# A version of TFDS stands behind a colon as well: it begins with a digit, a split with a letter.
_SPLIT = re.compile(r"(?P<name>.+):(?P<split>[A-Za-z_][^:/]*)", re.DOTALL)
_OLD_SPLIT = re.compile(r"(?P<name>.+)#(?P<split>\w+)", re.DOTALL)


def parse(text: str, *, default_split: str, where: str) -> tuple[str, str]:
    """The name that TFDS knows, or a folder, and the split.

    >>> parse("tfds:wikipedia/20230601.en:1.0.0", default_split="train", where="--input ")
    ('wikipedia/20230601.en:1.0.0', 'train')
    >>> parse("tfds:glue/mnli:validation_matched", default_split="train", where="data.train=")
    ('glue/mnli', 'validation_matched')

    Args:
      text: with PREFIX.
      default_split: where the text names none.
      where: the flag or field in front of the text, for errors.

    Raises:
      InputError: no name, or the split behind a #.
    """
    name = text.removeprefix(PREFIX)
    expected = f"{where}{text}: expected {PREFIX}NAME[/CONFIG][:SPLIT]. Received"
    if not name or name.startswith(":"):
        raise InputError(f"{expected} no name.")
    if old := _OLD_SPLIT.fullmatch(name):
        raise InputError(f"{expected} a split behind #; write {PREFIX}{old['name']}:{old['split']}.")
    found = _SPLIT.fullmatch(name)
    return (found["name"], found["split"]) if found else (name, default_split)
