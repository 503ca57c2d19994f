"""Files of tagged words, or of texts with entities -> examples for tagging. Standard library only."""

import dataclasses
from typing import Any

from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.rows_of_files import list_of, read_lines, read_rows, text_of, value_of
from bert_tf.tasks.shared.sections import ClassDataConfig
from bert_tf.tasks.tagging import conll
from bert_tf.tasks.tagging.spans import COLUMNS, read_entities

_NOT_ACCEPTED = ("reject", "ignore")  # Prodigy's "answer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagDataConfig(ClassDataConfig):
    """Columns with words and a tag for each, or with a text and its entities."""

    word_column: int | str = conll.AUTO  # CoNLL: counted from 0 or from the end, or by name
    tag_column: int | str = -1  # the same
    word_separator: str = " "  # what stands between words in text: evaluation writes it, and entities of words have it


def read(data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
    """Examples with "words" and "tags", or "text" and "entities", [(type, first character, last + 1)].

    Args:
      data: a TagDataConfig.
      path: a CoNLL file, or rows in which data.text_field is a list of words, or a text.
      field: the config field or flag that names it.
      labelled: whether there must be tags or entities.

    Raises:
      InputError: naming the file and line.
    """
    if path.endswith(conll.ENDINGS):
        columns = {"word_column": data.word_column, "tag_column": data.tag_column, "labelled": labelled}
        readers = dict.fromkeys(conll.ENDINGS, lambda file, path: conll.read(file, path, **columns))
        examples = read_lines(path, field, readers)
        if not examples:
            raise InputError(f"{field}={path}: expected at least one sentence. Received an empty file.")
        return examples
    examples, skipped = [], 0
    for place, row in read_rows(path, field):
        if labelled and row.get("answer") in _NOT_ACCEPTED:
            skipped += 1
            continue
        examples.append(_example(data, row, place, labelled))
    if not examples:
        raise InputError(f"{field}={path}: expected an example that was accepted. Received {skipped} that were not.")
    if skipped:
        examples[0]["skipped"] = {"examples skipped that were rejected or ignored in Prodigy": skipped}
    return examples


def _example(data: Any, row: dict, place: str, labelled: bool) -> dict:
    if isinstance(value_of(row, data.text_field, place), str):
        text = text_of(row, data.text_field, place)
        if not labelled:
            return {"place": place, "text": text}
        column = next((name for name in (data.label_field, *COLUMNS) if row.get(name) is not None), data.label_field)
        entities = read_entities(value_of(row, column, place), text, f"{place}: {column}")
        return {"place": place, "text": text, "entities": entities}
    example = {"place": place, "words": list_of(row, data.text_field, place)}
    if labelled:
        example["tags"] = list_of(row, data.label_field, place)
        if len(example["tags"]) != len(example["words"]):
            counts = f"{len(example['words'])} words and {len(example['tags'])} tags"
            raise InputError(f"{place}: expected as many tags as words. Received {counts}.")
        if not all(tag.strip() for tag in example["tags"]):
            raise InputError(f"{place}: expected a tag for every word. Received an empty one.")
    return example
