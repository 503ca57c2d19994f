"""Entities as characters of a text."""

import json

import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging import files, spans
from bert_tf.tasks.tagging.files import TagDataConfig
from bert_tf.tasks.tagging.schemes import IOB

TEXT = "😀 Émile Zola, 9/7/1992."
ZOLA, DATE = ("PER", 2, 12), ("DATE", 14, 22)


def read(tmp_path, *rows, **columns):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return files.read(TagDataConfig(**columns), str(path), "data.train", labelled=True)


@pytest.mark.parametrize(
    "row",
    [
        {"entities": [{"start": 2, "end": 12, "label": "PER"}, {"start": 14, "end": 22, "label": "DATE"}]},
        {"label": [[2, 12, "PER"], [14, 22, "DATE"]]},  # doccano
        {"labels": [[14, 22, "DATE"], [2, 12, "PER"]]},
        {
            "entities": [
                {"id": 0, "label": "PER", "start_offset": 2, "end_offset": 12},
                {"id": 1, "label": "DATE", "start_offset": 14, "end_offset": 22},
            ],
            "relations": [],
        },  # doccano, with relations
        {"label": {"entities": [[2, 12, "PER"], [14, 22, "DATE"]]}},  # spaCy
        {"spans": [{"start": 2, "end": 12, "label": "PER"}, {"start": 14, "end": 22, "label": "DATE"}]},  # Prodigy
        {
            "entities": [
                {"type": "PER", "start": 2, "end": 12, "text": "Émile Zola"},
                {"entity_group": "DATE", "start": 14, "end": 22},
            ]
        },  # predictions of this project and of transformers
    ],
)
def test_spans_of_every_kind_are_read(tmp_path, row):
    (example,) = read(tmp_path, {"text": TEXT, **row})
    assert (example["text"], example["entities"]) == (TEXT, [ZOLA, DATE])


def test_a_text_without_entities_and_a_named_column(tmp_path):
    none, named = read(
        tmp_path, {"text": TEXT, "found": []}, {"text": TEXT, "found": [[2, 12, "PER"]]}, label_field="found"
    )
    assert (none["entities"], named["entities"]) == ([], [ZOLA])


@pytest.mark.parametrize(
    ("entities", "sentence"),
    [
        (
            [[2, 99, "PER"]],
            "a.jsonl:1: label: expected an entity within the 23 characters of the text. Received: 2 to 99.",
        ),
        ([[5, 5, "PER"]], "Received: 5 to 5."),
        ([[2, 12]], "expected [start, end, label], or the same by name. Received: [2, 12]."),
        ([["2", 12, "PER"]], "expected [start, end, label]"),
        (["O"], "a.jsonl:1: label: expected [start, end, label], or the same by name. Received: O."),
        ("PER", "a.jsonl:1: label: expected a list of entities. Received: str."),
        # Bytes instead of characters.
        (
            [{"start": 5, "end": 16, "label": "PER", "text": "Émile Zola"}],
            "expected 'Émile Zola' at characters 5 to 16.",
        ),
    ],
)
def test_bad_spans_are_one_clear_sentence(tmp_path, entities, sentence):
    with pytest.raises(InputError) as error:
        read(tmp_path, {"text": TEXT, "label": entities})
    assert sentence in str(error.value)


def test_units_of_an_entity_are_tagged_and_off_bounds_counted():
    text = "Clinton's New\u00a0York-based NewYork\u200b!"
    units = [(0, 7), (7, 8), (8, 9), (10, 13), (14, 18), (18, 19), (19, 24), (25, 33), (33, 34)]
    tags, off = spans.tags_of_units(text, units, [("PER", 0, 7), ("LOC", 10, 19), ("ORG", 25, 32)], IOB)
    # "York-" ends with a unit, and so does NewYork: the unit has the zero-width space behind it.
    assert tags == ["B-PER", "O", "O", "B-LOC", "I-LOC", "I-LOC", "O", "B-ORG", "O"] and off == 0
    # White space around it is nothing; half a unit is not learned.
    tags, off = spans.tags_of_units(text, units, [("LOC", 9, 19), ("LOC", 28, 32)], IOB)
    assert tags == ["O", "O", "O", "B-LOC", "I-LOC", "I-LOC", "O", None, "O"] and off == 1


def test_the_longest_of_overlapping_entities_is_kept():
    assert spans.without_overlaps([("A", 0, 4), ("B", 2, 9), ("C", 9, 11), ("D", 3, 5)]) == [("B", 2, 9), ("C", 9, 11)]


def test_bytes_and_words_become_characters():
    assert spans.characters_of(TEXT, [(0, 4), (5, 16), (18, 26)]) == [(0, 1), (2, 12), (14, 22)]
    assert spans.characters_of("plain", [(1, 3)]) == [(1, 3)]
    assert spans.characters_of_words(["Émile", "Zola", ","], TEXT[2:13]) == [(0, 5), (6, 10), (10, 11)]
    assert spans.characters_of_words(["Vamos", "nos"], "Vámonos") is None
