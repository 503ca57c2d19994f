"""Records -> examples of a model."""

import json

import pytest

from pipelines.prediction.description import Signature
from pipelines.prediction.examples import Example, ExampleFields, example_of
from pipelines.reading.formats.fields import NoDocument, TextField, json_document

TEXT = Signature(name="serving_default", fields={"text": "text"}, lists=frozenset(), outputs={}, counts={})
WORDS = Signature(name="words", fields={"words": "text"}, lists=frozenset({"words"}), outputs={}, counts={})
FIELDS = ExampleFields((TEXT, WORDS), keep=("tags",))


def test_words_beside_their_tags_are_an_example_and_no_table_by_columns():
    data = json.dumps({"text": ["The", "fox"], "tags": ["O", "O"]}).encode()
    document = json_document(data, FIELDS)
    assert example_of(document.text) == Example(1, {"words": ["The", "fox"]}, {"tags": ["O", "O"]})
    assert (document.source, document.licence) == (None, None)
    with pytest.raises(NoDocument, match=r"a table by columns \(text, tags\)"):
        json_document(data, TextField("text"))


def test_any_column_that_comes_twice_is_refused():
    with pytest.raises(NoDocument, match='more than one "tags"'):
        json_document(b'{"text": "a", "tags": 1, "tags": 2}', FIELDS)
    assert example_of(json_document(b'{"text": "a", "n": 1, "n": 2}', FIELDS).text).inputs == {"text": "a"}
