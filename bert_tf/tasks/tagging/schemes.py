"""Tags that name entities: PREFIX-TYPE, and O outside. IOB1, IOB2, IO, BIOES, BILOU, BMES. Standard library only.

An entity begins with B, S, U or W, or where no entity of its type is open, and goes on with I, M, E and L. This one
rule reads all of these schemes, and is conlleval's for IOB1 and IOB2 (Tjong Kim Sang and Buchholz 2000).

Example:
  spans_of_tags(["B-PER", "I-PER", "O", "S-LOC"])  # [("PER", 0, 2), ("LOC", 3, 4)]
"""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bert_tf.core.errors import InputError

OUTSIDE = "O"
BEGINNINGS = frozenset("BSUW")
Span = tuple[str, int, int]  # type, first, last + 1


class Scheme(NamedTuple):
    """Prefixes of the tags of an entity's first word, inner words and last word, and of an entity of one word."""

    name: str
    first: str
    inside: str
    last: str
    single: str

    @property
    def prefixes(self) -> frozenset[str]:
        return frozenset(self[1:])

    def tags(self, kind: str, count: int) -> list[str]:
        """The tags of an entity of this type that has `count` words."""
        if count == 1:
            return [f"{self.single}-{kind}"]
        return [f"{self.first}-{kind}", *[f"{self.inside}-{kind}"] * (count - 2), f"{self.last}-{kind}"]


# IOB1, IOB2 and IO are all read as IOB: the first scheme that has all prefixes of the data is theirs.
IOB = Scheme("IOB", "B", "I", "I", "B")
SCHEMES = (
    IOB,
    Scheme("BIOES", "B", "I", "E", "S"),
    Scheme("BILOU", "B", "I", "L", "U"),
    Scheme("BMES", "B", "M", "E", "S"),
    Scheme("BMEWO", "B", "M", "E", "W"),
)
_IO = Scheme("IO", "I", "I", "I", "I")
_PREFIXES = frozenset().union(*(scheme.prefixes for scheme in SCHEMES))
_BRACKETS = re.compile(r"\([^()*]+\*\)?")


def parts(tag: str) -> tuple[str, str] | None:
    """(prefix, type) of a tag of an entity; None for any other tag."""
    return (tag[0], tag[2:]) if tag[1:2] == "-" and tag[0] in _PREFIXES and len(tag) > 2 else None


def names_entities(labels: Iterable[str]) -> bool:
    """Whether all labels are O or tags of entities."""
    return all(label == OUTSIDE or parts(label) is not None for label in labels)


def types_of(labels: Iterable[str]) -> list[str]:
    """The types of entities that labels name, sorted."""
    return sorted({found[1] for label in labels if (found := parts(label))})


def scheme_of(placed: Iterable[tuple[str, str]]) -> Scheme | None:
    """The scheme of (tag, place) in the order of the data; None for tags that name no entities.

    Raises:
      InputError: the tags mix several schemes, or mix entity tags with other tags; or they are IOE tags or
        CoNLL-2012's brackets, which are not supported.
    """
    first: dict[str, str] = {}  # {tag: place}
    for tag, place in placed:
        first.setdefault(tag, place)
    for tag, place in first.items():
        if _BRACKETS.fullmatch(tag):
            raise InputError(f"{place}: expected one tag a word. Received: {tag!r}, CoNLL-2012's brackets.")
    named = [tag for tag in first if parts(tag)]
    others = [tag for tag in first if tag != OUTSIDE and not parts(tag)]
    if others and not any(tag[:2] == "B-" for tag in named):
        return None  # parts of speech may look like tags of entities
    if others:
        raise InputError(
            f"{first[others[0]]}: expected {OUTSIDE} or a tag of an entity such as {named[0]}. Received: {others[0]!r}."
        )
    fitting = list(SCHEMES)
    for tag in named:
        left = [scheme for scheme in fitting if tag[0] in scheme.prefixes]
        if not left:
            before, now = (" or ".join(s.name for s in schemes) for schemes in (fitting, _schemes_with(tag)))
            raise InputError(
                f"{first[tag]}: expected tags of one scheme, {before} as before. Received: {tag!r}, of {now}."
            )
        fitting = left
    prefixes = {tag[0] for tag in named}
    if "E" in prefixes and not prefixes & BEGINNINGS:
        tag = next(tag for tag in named if tag[0] == "E")
        raise InputError(
            f"{first[tag]}: expected tags of {', '.join(s.name for s in SCHEMES)}. Received: {tag!r} without any B- or "
            "S-, as IOE1 and IOE2 have it."
        )
    return fitting[0]


def _schemes_with(tag: str) -> list[Scheme]:
    return [scheme for scheme in SCHEMES if tag[0] in scheme.prefixes]


def scheme_to_write(labels: Iterable[str]) -> Scheme:
    """The scheme in which to tag entities, so that the tags are among these labels; IOB for labels that name none.

    Raises:
      InputError: labels of several schemes.
    """
    scheme = scheme_of((label, "data.labels") for label in labels) or IOB
    prefixes = {found[0] for label in labels if (found := parts(label))}
    return _IO if scheme is IOB and prefixes == {"I"} else scheme


def inside(tag: str, labels: Iterable[str]) -> str:
    """The tag of the further units of a word that has this tag.

    Args:
      tag: I- of the same type for one of an entity, any other as it is.
      labels: tell the scheme.
    """
    found = parts(tag)
    if found is None:
        return tag
    letters = {label[0] for label in labels if parts(label)}
    return f"{'M' if letters & set('MW') and 'I' not in letters else 'I'}-{found[1]}"


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """Entities of a sequence of tags, in order."""
    found: list[Span] = []
    kind, first = None, 0
    for index, tag in enumerate([*tags, OUTSIDE]):
        prefix, now = parts(tag) or ("", None)
        if kind is not None and (now != kind or prefix in BEGINNINGS):
            found.append((kind, first, index))
            kind = None
        if kind is None and now is not None:
            kind, first = now, index
    return found


def count(sentences: Iterable[Sequence[str]], scheme: str) -> dict[str, int]:
    """How many entities the tags name, and how many tags do not follow the scheme, in words for a report."""
    found: collections.Counter = collections.Counter()
    entities = f"entities, tagged in {scheme}"
    for tags in sentences:
        found[entities] += len(spans_of_tags(tags))
        for before, tag in zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True):
            (last, old), (prefix, kind) = parts(before) or ("", None), parts(tag) or ("", None)
            is_open = old is not None and last in ("BI" if scheme == "IOB" else "BIM")
            goes_on = prefix in tuple("IMEL")
            if scheme == "IOB":
                found["of them begin with I-, as in IOB1 and IO"] += goes_on and not (is_open and old == kind)
            elif is_open != goes_on or (goes_on and old != kind):
                found[f"tags out of order for {scheme}"] += 1
    return dict(found)
