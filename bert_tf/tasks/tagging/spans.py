"""Entities as characters of a text, and the tags of the units of that text. Standard library only.

Characters are Unicode code points, as Python, doccano and spaCy count them; the end is behind the last one.
"""

import bisect
import unicodedata
from collections.abc import Sequence
from typing import Any

from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging.schemes import OUTSIDE, Scheme, Span

COLUMNS = ("entities", "spans", "labels")  # where a file has no data.label_field
_KEYS = (("start", "start_offset"), ("end", "end_offset"), ("label", "type", "entity_group"))


def read_entities(values: Any, text: str, place: str) -> list[Span]:
    """(type, first character, last character + 1) of each entity, in order.

    Args:
      values: a list of [start, end, label], as doccano and spaCy have them, or of objects with "start", "end" and
        "label", or doccano's "start_offset" and "end_offset", or the "type" or "entity_group" of predictions; or
        spaCy's {"entities": list}.
      text: that they are of.
      place: of the text and the column, for errors.

    Raises:
      InputError: something else, a span that is not within the text, or one whose "text" is not what stands there.
    """
    values = values.get("entities") if isinstance(values, dict) else values
    if not isinstance(values, list):
        raise InputError(f"{place}: expected a list of entities. Received: {type(values).__name__}.")
    return sorted((_entity(value, text, place) for value in values), key=lambda span: span[1:])


def _entity(value: Any, text: str, place: str) -> Span:
    shown, fields = None, value  # type: Any, Any
    if isinstance(value, dict):
        fields = [next((value[key] for key in keys if key in value), None) for keys in _KEYS]
        shown = value.get("text")
    kinds = [type(field) for field in fields] if isinstance(fields, list) else []
    if kinds != [int, int, str] or not fields[2]:
        raise InputError(f"{place}: expected [start, end, label], or the same by name. Received: {str(value)[:80]}.")
    start, end, label = fields
    if not 0 <= start < end <= len(text):
        raise InputError(
            f"{place}: expected an entity within the {len(text)} characters of the text. Received: {start} to {end}."
        )
    if isinstance(shown, str) and shown != text[start:end]:
        raise InputError(
            f"{place}: expected {shown!r} at characters {start} to {end}. Received {text[start:end]!r}: start and end "
            "count Unicode characters."
        )
    return label, start, end


def without_overlaps(spans: Sequence[Span]) -> list[Span]:
    """The longest of entities that overlap, since a unit has one tag."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[1] - span[2], span[1])):
        if all(span[2] <= other[1] or other[2] <= span[1] for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span[1])


def trimmed(text: str, span: Span) -> Span:
    """An entity without the white space and control characters at its ends, which belong to no unit."""
    kind, start, end = span
    while start < end and _is_nothing(text[start]):
        start += 1
    while start < end and _is_nothing(text[end - 1]):
        end -= 1
    return kind, start, end


def _is_nothing(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZC" or character == "\ufffd"


def characters_of(text: str, spans: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Byte bounds of parts of a text -> the same in characters; a bound within a character is that of its beginning."""
    if text.isascii():
        return [(begin, end) for begin, end in spans]
    starts, place = [], 0
    for character in text:
        starts.append(place)
        place += len(character.encode("utf-8", "replace"))
    starts.append(place)
    return [(bisect.bisect_right(starts, begin) - 1, bisect.bisect_right(starts, end) - 1) for begin, end in spans]


def tags_of_units(
    text: str, units: Sequence[tuple[int, int]], spans: Sequence[Span], scheme: Scheme
) -> tuple[list[str | None], int]:
    """Tags of the units of a text, and how many entities do not begin and end with units.

    The units that such an entity touches get the tag None and are not learned.

    Args:
      text: the text.
      units: characters of each unit, in order.
      spans: entities that do not overlap.
      scheme: of the tags.
    """
    tags: list[str | None] = [OUTSIDE] * len(units)
    begins, ends, off = [begin for begin, _ in units], [end for _, end in units], 0
    for span in spans:
        kind, start, end = trimmed(text, span)
        first, last = bisect.bisect_right(ends, start), bisect.bisect_left(begins, end)
        if first < last and begins[first] == start and _same_end(text, end, ends[last - 1]):
            tags[first:last] = scheme.tags(kind, last - first)
        else:
            tags[first:last] = [None] * (last - first)
            off += 1
    return tags, off


def _same_end(text: str, end: int, unit_end: int) -> bool:
    """Whether nothing lies between the two; a unit has what the tokenizer dropped behind it."""
    return all(map(_is_nothing, text[min(end, unit_end) : max(end, unit_end)]))


def characters_of_words(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where words stand in a text, one behind the other with white space between; None if they do not."""
    found, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(word)
        found.append((start, end))
    return None if text[end:].strip() else found
