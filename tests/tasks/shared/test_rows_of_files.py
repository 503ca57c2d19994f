import json

import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.rows_of_files import read_rows, text_of


def columns(path, *names):
    rows = read_rows(str(path), "data.train")
    return [[text_of(row, name, place) for place, row in rows] for name in names]


def test_tsv_csv_and_jsonl_give_the_same_columns(tmp_path):
    rows = [{"text": 'say "hi"', "label": "a", "other": 1}, {"text": "é", "label": 2, "other": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    (tmp_path / "a.tsv").write_text('label\ttext\na\tsay "hi"\n2\té\n')
    (tmp_path / "a.csv").write_text('\ufefflabel,text\na,"say ""hi"""\n\n2,é\n')
    for name in ("a.jsonl", "a.tsv", "a.csv"):
        assert columns(tmp_path / name, "text", "label") == [['say "hi"', "é"], ["a", "2"]]


def test_csv_cells_may_hold_lines_and_much_text(tmp_path):
    long = "word " * 40_000
    (tmp_path / "a.csv").write_text(f'text,label\n"two\nlines",x\n"{long}",y\n')
    assert columns(tmp_path / "a.csv", "text") == [["two\nlines", long]]
    assert [place.rsplit(":")[-1] for place, _ in read_rows(str(tmp_path / "a.csv"), "f")] == ["3", "4"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.tsv", "text\tlabels\nx\ta\n", "a.tsv:2: expected a column 'label'. Received: text, labels."),
        ("a.tsv", "text\tlabel\nx\n", "a.tsv:2: expected 2 columns. Received 1."),
        ("a.tsv", "text\tlabel\nx\ty\tz\n", "a.tsv:2: expected 2 columns. Received 3."),
        ("a.csv", 'text,label\nx,"y\n', "expected CSV. Received: unexpected end of data."),
        ("a.csv", "text,label\nx\n", "a.csv:2: expected 2 columns. Received 1."),
        ("a.tsv", "text\tlabel\n", "expected at least one example. Received an empty file."),
        ("a.csv", "", "expected at least one example. Received an empty file."),
        ("a.jsonl", '{"text": "x"}\n', "a.jsonl:1: expected a column 'label'. Received: text."),
        ("a.jsonl", '{"text": "x", "label": null}\n', "a.jsonl:1: expected a column 'label'. Received: text, label."),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{\n', "a.jsonl:2: expected JSON."),
        ("a.jsonl", "[1]\n", "a.jsonl:1: expected a JSON object. Received: list."),
        (
            "a.jsonl",
            '{"text": {"q": 1}, "label": "a"}\n',
            "a.jsonl:1: text: expected text or a number. Received: dict.",
        ),
        ("a.xls", "x", "expected a file ending in .jsonl, .json, .csv, .tsv or tfds:NAME."),
        (None, None, "expected a file of examples. Received: No such file"),
    ],
)
def test_bad_table_is_one_clear_sentence(tmp_path, name, text, sentence):
    path = tmp_path / (name or "none.tsv")
    if name:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        columns(path, "text", "label")
    assert sentence in str(error.value)


def test_bytes_that_are_no_utf8_are_refused(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\n\xff\ta\n")
    with pytest.raises(InputError, match="data.train=.*a.tsv: expected UTF-8. Received the byte 0x"):
        columns(tmp_path / "a.tsv", "text")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """A real TensorFlow data set on disk, with classes, sequences of classes, and SQuAD's answers."""
    import tensorflow_datasets as tfds

    folder = str(tmp_path_factory.mktemp("tfds"))
    features = tfds.features.FeaturesDict(
        {
            "sentence": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["no", "yes"]),
            "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B-X"])),
            "answers": tfds.features.Sequence({"text": tfds.features.Text(), "answer_start": np.int32}),
        }
    )
    examples = [
        {"sentence": "é one", "label": 1, "tags": [0, 1], "answers": {"text": ["one"], "answer_start": [2]}},
        {"sentence": "two", "label": 0, "tags": [1], "answers": {"text": [], "answer_start": []}},
    ]
    splits = {"train": list(enumerate(examples))}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="small",
        version="1.0.0",
        features=features,
        split_datasets=splits,
        data_dir=folder,
    )
    return f"{folder}/small/1.0.0"


def test_a_tensorflow_data_set_gives_names_and_lists(data_set):
    rows = [row for _, row in read_rows(f"tfds:{data_set}", "data.train")]
    assert rows == [
        {"sentence": "é one", "label": "yes", "tags": ["O", "B-X"], "answers": {"text": ["one"], "answer_start": [2]}},
        {"sentence": "two", "label": "no", "tags": ["B-X"], "answers": {"text": [], "answer_start": []}},
    ]
    assert len(read_rows(f"tfds:{data_set}:train", "data.validation")) == 2


def test_a_split_or_data_set_that_is_not_there_is_refused(data_set):
    with pytest.raises(InputError, match="data.validation=tfds:.*with a split validation. It has: train."):
        read_rows(f"tfds:{data_set}", "data.validation")
    with pytest.raises(InputError, match="data.train=tfds:no_such_set: expected the name of a TensorFlow data set"):
        read_rows("tfds:no_such_set", "data.train")
    with pytest.raises(InputError, match="data.train=tfds:x#test: .* write tfds:x:test"):
        read_rows("tfds:x#test", "data.train")


def test_an_empty_line_is_no_row_of_several_columns(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\nx\ta\n\ny\tb\n\n")
    assert [row["text"] for _, row in read_rows(str(tmp_path / "a.tsv"), "data.train")] == ["x", "y"]
    (tmp_path / "b.tsv").write_text("text\nx\n\n")
    assert [row["text"] for _, row in read_rows(str(tmp_path / "b.tsv"), "data.train")] == ["x", ""]
