import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.config import FinetuneDataConfig
from bert_tf.errors import InputError
from bert_tf.tasks import classification, task_named, task_of
from bert_tf.tasks.tables import read_columns
from bert_tf.tokenizer import Tokenizer


def test_tsv_and_jsonl_give_the_same_columns(tmp_path):
    rows = [{"text": 'say "hi"', "label": "a", "other": 1}, {"text": "é", "label": 2, "other": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    (tmp_path / "a.tsv").write_text('label\ttext\na\tsay "hi"\n2\té\n')
    for name in ("a.jsonl", "a.tsv"):
        assert read_columns(str(tmp_path / name), ("text", "label"), "x") == [['say "hi"', "é"], ["a", "2"]]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.tsv", "text\tlabels\nx\ta\n", "a.tsv:2: expected a column 'label'. Received: text, labels."),
        ("a.tsv", "text\tlabel\nx\n", "a.tsv:2: expected 2 columns. Received 1."),
        ("a.tsv", "text\tlabel\nx\ty\tz\n", "a.tsv:2: expected 2 columns. Received 3."),
        ("a.tsv", "text\tlabel\n", "expected at least one example. Received an empty file."),
        ("a.jsonl", '{"text": "x"}\n', "a.jsonl:1: expected a column 'label'. Received: text."),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{\n', "a.jsonl:2: expected JSON."),
        ("a.jsonl", "[1]\n", "a.jsonl:1: expected a JSON object. Received: list."),
        (
            "a.jsonl",
            '{"text": {"q": 1}, "label": "a"}\n',
            "a.jsonl:1: text: expected text or a number. Received: dict.",
        ),
        ("a.csv", "x", "expected a file ending in .jsonl or .tsv"),
        (None, None, "expected a file of examples. Received: No such file"),
    ],
)
def test_bad_table_is_one_clear_sentence(tmp_path, name, text, sentence):
    path = tmp_path / (name or "none.tsv")
    if name:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        read_columns(str(path), ("text", "label"), "data.train")
    assert sentence in str(error.value)


def test_features_and_unknown_label(vocabulary, tmp_path):
    tokenizer = Tokenizer(vocabulary)
    arguments = {"names": ["a", "b"], "tokenizer": tokenizer, "max_seq_length": 4, "field": "data.validation=x"}
    found = classification.features(["the cat", "dog"], ["b", "a"], **arguments)
    assert found["label_ids"].tolist() == [1, 0]
    assert found["input_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    with pytest.raises(InputError, match="data.validation=x: example 2: expected a label of a, b. Received: 'c'."):
        classification.features(["x", "y"], ["a", "c"], **arguments)


def test_labels_are_sorted_and_more_than_one():
    assert classification.label_names(["b", "a", "b"], "f") == ["a", "b"]
    with pytest.raises(InputError, match="expected at least two different labels. Received only 'a'"):
        classification.label_names(["a", "a"], "f")


def test_serving_function_gives_labels_and_probabilities(small_config, vocabulary):
    keras.utils.set_random_seed(0)
    import dataclasses

    model = classification.make_model(dataclasses.replace(small_config, vocab_size=len(vocabulary)), ["no", "yes", "ü"])
    tokenizer = Tokenizer(vocabulary)
    serve = classification.signatures(model, tokenizer, labels=["no", "yes", "ü"], max_seq_length=8)["serving_default"]
    texts = ["the cat sat", "", "dog " * 50]
    answer = serve(tf.constant(texts))
    logits = model(tokenizer.pack(tf.constant(texts), max_seq_length=8))["logits"].numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["labels"].shape == (3, 3)
    names = ["no", "yes", "ü"]
    assert [x.decode() for x in answer["label"].numpy()] == [names[i] for i in expected.argmax(axis=1)]
    predictions = classification.predict(serve, texts, batch_size=2)
    assert [p["text"] for p in predictions] == texts
    assert predictions[0]["probabilities"]["ü"] == pytest.approx(expected[0, 2], abs=1e-5)


def test_scores_by_hand():
    scores = classification.scores(["a", "a", "b", "c"], ["a", "b", "b", "b"], majority="a")
    # F1: a 2/3, b 2 x 1/(1 + 3) = 1/2, c 0.
    assert scores == pytest.approx(
        {"examples": 4, "accuracy": 0.5, "macro_f1": (2 / 3 + 1 / 2) / 3, "majority_baseline": 0.5}
    )


def test_table_of_tasks():
    assert task_named("classification") is task_of("BertForSequenceClassification", "m") is classification
    with pytest.raises(InputError, match="task=poetry: expected one of classification"):
        task_named("poetry")
    with pytest.raises(InputError, match="--model m: expected a fine-tuned model, .* Received: BertForPreTraining"):
        task_of("BertForPreTraining", "m")


def test_data_config_names_the_columns(tmp_path):
    (tmp_path / "a.tsv").write_text("sentence\tclass\nx\ta\n")
    data = FinetuneDataConfig(train=str(tmp_path / "a.tsv"), text_field="sentence", label_field="class")
    assert classification.read_examples(data, "train") == (["x"], ["a"])
