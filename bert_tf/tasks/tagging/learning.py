"""Tags of words, or entities of texts, -> the tag that each unit learns."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging import schemes
from bert_tf.tasks.tagging.spans import characters_of, tags_of_units, without_overlaps
from bert_tf.tasks.task import Arrays, check_label


def tags_to_learn(examples: Sequence[dict]) -> list[str]:
    """All tags of examples, sorted, with the I- of each type that only begins: words may have several units.

    Entities of texts are tagged in the scheme of the words beside them, in IOB2 if the data have texts only.

    Raises:
      InputError: tags of several schemes, naming the place.
    """
    of_words = [(tag, example["place"]) for example in examples for tag in example.get("tags", ())]
    scheme = schemes.scheme_of(of_words)
    tags = {tag for tag, _ in of_words}
    if scheme is not None:
        tags |= {schemes.inside(tag, tags) for tag in tags}
    for example in examples:
        if "entities" in example:
            tags.add(schemes.OUTSIDE)
            for kind, _, _ in example["entities"]:
                tags |= {tag for count in (1, 3) for tag in (scheme or schemes.IOB).tags(kind, count)}
    return sorted(tags)


def check_tags(examples: Sequence[dict], labels: Sequence[str]) -> None:
    """Refuses tags and types of entities that training has not seen.

    Raises:
      InputError: naming the place of the first one.
    """
    ids, kinds = dict.fromkeys(labels, 0), schemes.types_of(labels)
    for example in examples:
        for tag in example.get("tags", ()):
            check_label(tag, ids, example["place"])
        for kind, _, _ in example.get("entities", ()):
            if kind not in kinds:
                raise InputError(f"{example['place']}: expected an entity of {', '.join(kinds)}. Received: {kind!r}.")


def unit_tags(examples: Sequence[dict], layout: Arrays, labels: Sequence[str]) -> tuple[np.ndarray, Mapping[str, int]]:
    """The id of each unit's tag, -1 for units that are not learned, int64 [units]; and counts for a report.

    Args:
      examples: all with "words", or all with "text".
      layout: of units.py.
      labels: names of the ids.

    Raises:
      InputError: a tag that training has not seen, naming its place.
    """
    ids = {label: index for index, label in enumerate(labels)}
    return _of_words(examples, layout, ids) if "words" in examples[0] else _of_texts(examples, layout, ids)


def _of_words(examples: Sequence[dict], layout: Arrays, ids: Mapping[str, int]):
    given = np.array([check_label(tag, ids, e["place"]) for e in examples for tag in e["tags"]], np.int64)
    of_further = np.array([ids.get(schemes.inside(label, ids), -1) for label in ids], np.int64)
    word = layout["word"]
    is_further = np.arange(len(word)) != layout["word_units"][word]
    found = given[word]
    found[is_further] = of_further[found[is_further]]
    notes: collections.Counter = collections.Counter()
    scheme = schemes.scheme_of((label, "data.labels") for label in ids)
    if scheme is not None:
        notes.update(schemes.count((example["tags"] for example in examples), scheme.name))
    else:
        notes["words, whose tags name no entities"] = len(given)
    notes["parts of words are not learned, since data.labels has no I- for them"] = int((found < 0).sum())
    for example in examples:
        notes.update(example.get("skipped", {}))
    return found, notes


def _of_texts(examples: Sequence[dict], layout: Arrays, ids: Mapping[str, int]):
    found, notes, scheme = [], collections.Counter(), schemes.scheme_to_write(list(ids))
    for number, example in enumerate(examples):
        rows = slice(*layout["row_splits"][number : number + 2])
        bounds = np.stack([layout["starts"][rows], layout["ends"][rows]], axis=1)
        spans = without_overlaps(example["entities"])
        tags, off = tags_of_units(example["text"], characters_of(example["text"], bounds.tolist()), spans, scheme)
        found += [-1 if tag is None else check_label(tag, ids, example["place"]) for tag in tags]
        notes["entities"] += len(example["entities"])
        notes["of them overlap a longer one and are not learned"] += len(example["entities"]) - len(spans)
        notes["of them begin or end within a word of the tokenizer and are not learned"] += off
    return np.array(found, np.int64), notes
