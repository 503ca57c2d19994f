"""tfds:NAME[/CONFIG][:SPLIT], as data pipelines and tasks read it."""

import pytest

from bert_tf.core.errors import InputError
from bert_tf.core.tfds_name import parse


@pytest.mark.parametrize(
    ("text", "name", "split"),
    [
        ("tfds:imdb", "imdb", "train"),
        ("tfds:imdb:test", "imdb", "test"),
        ("tfds:glue/mnli:validation_matched", "glue/mnli", "validation_matched"),
        ("tfds:wikipedia/20230601.en", "wikipedia/20230601.en", "train"),
        ("tfds:wikipedia/20230601.en:1.0.0", "wikipedia/20230601.en:1.0.0", "train"),
        ("tfds:wikipedia:1.*.*", "wikipedia:1.*.*", "train"),
        ("tfds:wikipedia/20230601.en:1.0.0:validation", "wikipedia/20230601.en:1.0.0", "validation"),
        ("tfds:/data/mine/1.0.0", "/data/mine/1.0.0", "train"),
        ("tfds:/data/mine/1.0.0:test", "/data/mine/1.0.0", "test"),
        ("tfds:gs://bucket/mine/1.0.0", "gs://bucket/mine/1.0.0", "train"),
        ("tfds:gs://bucket/#1/mine:test", "gs://bucket/#1/mine", "test"),
    ],
)
def test_a_split_is_no_version_and_no_folder(text, name, split):
    assert parse(text, default_split="train", where="") == (name, split)


def test_a_split_behind_a_hash_and_no_name_are_refused():
    with pytest.raises(InputError) as refused:
        parse("tfds:imdb#test", default_split="train", where="--input ")
    assert str(refused.value) == (
        "--input tfds:imdb#test: expected tfds:NAME[/CONFIG][:SPLIT]. Received a split behind #; write tfds:imdb:test."
    )
    for text in ("tfds:", "tfds::train"):
        with pytest.raises(InputError, match="Received no name"):
            parse(text, default_split="train", where="")
