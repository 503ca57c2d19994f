"""What tags and entities of an example are, and how well answers match them."""

import re
from collections.abc import Sequence

from nervaluate import Evaluator

from bert_tf.tasks.tagging.schemes import OUTSIDE, Span, scheme_to_write, spans_of_tags
from bert_tf.tasks.tagging.spans import (
    characters_of,
    characters_of_words,
    tags_of_units,
    trimmed,
    without_overlaps,
)

_PLAIN_WORD = re.compile(r"\w+|[^\w\s]")


def entity_scores(truth: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]) -> dict[str, float]:
    """Precision, recall and F1 of entities, right where type and both bounds are: nervaluate's strict ones."""
    types = sorted({kind for spans in (*truth, *found) for kind, _, _ in spans})
    rows = (
        # An entity of white space only is empty, and is missed.
        [[{"label": k, "start": b, "end": max(b, e - 1)} for k, b, e in spans] for spans in both]
        for both in (truth, found)
    )
    strict = Evaluator(*rows, tags=types, loader="dict").evaluate()["overall"]["strict"]
    return {"precision": strict.precision, "recall": strict.recall, "f1": strict.f1}


def entities_of(example: dict) -> list[Span]:
    """Entities of an example, in words, or in characters of its text."""
    if "tags" in example:
        return spans_of_tags(example["tags"])
    return [trimmed(example["text"], span) for span in example["entities"]]


def entities_found(example: dict, answer: dict) -> list[Span]:
    """Entities of an answer, in the example's units: words or characters."""
    if "tags" in example:
        return spans_of_tags(answer["tags"])
    return in_text(answer)


def in_text(answer: dict) -> list[Span]:
    """Entities of an answer to a text, in characters."""
    return [trimmed(answer["text"], (e["type"], e["start"], e["end"])) for e in answer["entities"]]


def pairs_of_tags(
    examples: Sequence[dict], answers: Sequence[dict], labels: Sequence[str]
) -> tuple[list[str], list[str]]:
    """(true tags, answered tags) of all words; of texts, of all units but those of entities off the units' bounds.

    Entities of texts are tagged in the scheme of `labels`, those of the model.
    """
    truth, found, scheme = [], [], scheme_to_write(labels)
    for example, answer in zip(examples, answers, strict=True):
        tags: Sequence[str | None] = example.get("tags") or []
        if "tags" not in example:
            units = characters_of(example["text"], answer["bytes"])
            tags, _ = tags_of_units(example["text"], units, without_overlaps(example["entities"]), scheme)
        for tag, answered in zip(tags, answer["tags"], strict=True):
            if tag is not None:
                truth.append(tag)
                found.append(answered)
    return truth, found


def with_words(example: dict, labels: Sequence[str]) -> dict:
    """A text as words with tags in the scheme of `labels`, split at white space and punctuation."""
    if "tags" in example:
        return example
    text = example["text"]
    bounds = [match.span() for match in _PLAIN_WORD.finditer(text)]
    tags, _ = tags_of_units(text, bounds, without_overlaps(example["entities"]), scheme_to_write(labels))
    return {"words": [text[begin:end] for begin, end in bounds], "tags": [tag or OUTSIDE for tag in tags]}


def as_text(example: dict, separator: str) -> dict:
    """Words with tags as the text that they were, or could have been, and its entities in characters.

    Args:
      example: with "text" where the file had it.
      separator: what to join the words with where it had not.
    """
    words, text = example["words"], example.get("text", "")
    bounds = characters_of_words(words, text)
    if bounds is None:
        text, bounds = separator.join(words), []
        for word in words:
            begin = bounds[-1][1] + len(separator) if bounds else 0
            bounds.append((begin, begin + len(word)))
    spans = [(kind, bounds[first][0], bounds[last - 1][1]) for kind, first, last in spans_of_tags(example["tags"])]
    return {"place": example["place"], "text": text, "entities": [trimmed(text, span) for span in spans]}
