import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from bert_tf.core.config_finetune import FinetuneDataConfig

from bert_tf.core.errors import InputError
from bert_tf.serving.export.signatures import signatures
from bert_tf.tasks import TASKS, name_for, task_named
from bert_tf.tasks.classification import Classification
from bert_tf.tasks.multi_label import MultiLabel
from bert_tf.tasks.regression import Regression
from bert_tf.text.wordpiece import Tokenizer

PAIRS = FinetuneDataConfig(max_seq_length=8, second_text_field="second")


def examples(*labels):
    return [{"place": f"x:{n}", "text": "the cat", "label": label} for n, label in enumerate(labels, start=1)]


def test_rows_labels_and_an_unknown_label(vocabulary):
    task = Classification(labels=["a", "b"], data=FinetuneDataConfig(max_seq_length=4))
    rows = task.rows(
        [{"place": "x:1", "text": "the cat", "label": "b"}, {"place": "x:2", "text": "dog", "label": "a"}],
        Tokenizer(vocabulary),
        labelled=True,
    )
    assert rows.arrays["label_ids"].tolist() == [1, 0]
    assert rows.arrays["label_weights"].tolist() == [1, 1]
    assert rows.arrays["input_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    with pytest.raises(InputError, match="x:2: expected a label of a, b. Received: 'c'."):
        task.rows(examples("a", "c"), Tokenizer(vocabulary), labelled=True)


def test_long_texts_are_cut_and_counted(vocabulary):
    task = Classification(labels=["a", "b"], data=FinetuneDataConfig(max_seq_length=8))
    many = [{"place": "x", "text": text} for text in ("cat " * 10_000, "cat " * 6, "cat " * 7)]
    rows = task.rows(many, Tokenizer(vocabulary), labelled=False)
    assert rows.arrays["input_word_ids"].shape == (3, 8)
    assert rows.notes == {"cut to 8 tokens": 2}


def test_pairs_have_types(vocabulary, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tsecond\tlabel\nthe cat\tdog\ta\n")
    found = Classification.read(PAIRS, str(tmp_path / "a.tsv"), "data.train", labelled=True)
    assert found == [
        {"place": f"{tmp_path}/a.tsv:2", "text": "the cat", "second_text": "dog", "label": "a"},
    ]
    rows = Classification(labels=["a", "b"], data=PAIRS).rows(found, Tokenizer(vocabulary), labelled=True)
    assert rows.arrays["input_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    assert rows.notes == {}


def test_labels_are_sorted_or_as_the_config_has_them_and_more_than_one():
    data = FinetuneDataConfig()
    assert Classification.learn_labels(examples("b", "a", "b"), data, "f") == ["a", "b"]
    given = FinetuneDataConfig(labels=("z", "a"))
    assert Classification.learn_labels(examples("b", "a", "b"), given, "f") == ["z", "a"]
    with pytest.raises(InputError, match="expected at least two different labels. Received only 'a'"):
        Classification.learn_labels(examples("a", "a"), data, "f")


def test_serving_function_gives_labels_and_probabilities(small_config, vocabulary):
    keras.utils.set_random_seed(0)
    names = ["no", "yes", "ü"]
    task = Classification(labels=names, data=FinetuneDataConfig(max_seq_length=8))
    model = task.make_model(dataclasses.replace(small_config, vocab_size=len(vocabulary)))
    tokenizer = Tokenizer(vocabulary)
    serve = signatures(task, model, tokenizer)["serving_default"].function
    texts = ["the cat sat", "", "dog " * 50]
    answer = serve(tf.constant(texts))
    logits = model(tokenizer.pack(tf.constant(texts), max_seq_length=8))["logits"].numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["labels"].shape == (3, 3)
    assert [x.decode() for x in answer["label"].numpy()] == [names[i] for i in expected.argmax(axis=1)]


def test_answers_name_the_labels():
    task = Classification(labels=["no", "ü"])
    found = task.answers(examples("no"), None, {"logits": np.log([[0.25, 0.75]])})
    assert found == [{"text": "the cat", "label": "ü", "probabilities": {"no": 0.25, "ü": 0.75}}]


def test_scores_by_hand():
    task = Classification(labels=["a", "b", "c"])
    truth, found = examples("a", "a", "b", "c"), [{"label": x} for x in "abbb"]
    # F1: a 2/3, b 2 x 1/(1 + 3) = 1/2, c 0; two of four are a.
    scores = task.scores(truth, found)
    assert scores["accuracy"] == 0.5
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert scores["weighted_f1"] == pytest.approx((2 * 2 / 3 + 1 / 2) / 4)
    # Matthews for classes: (c s - sum p t) / sqrt((s^2 - sum p^2)(s^2 - sum t^2)); c 2, s 4, p (1, 3, 0), t (2, 1, 1).
    assert scores["matthews"] == pytest.approx((2 * 4 - 5) / np.sqrt((16 - 10) * (16 - 6)))
    assert "f1" not in scores
    two = Classification(labels=["0", "1"])
    # Of class 1: one hit, one miss, one false alarm.
    assert two.scores(examples("1", "1", "0", "0"), [{"label": x} for x in "1010"])["f1"] == 0.5
    assert task.baseline(examples("b", "b", "a"), truth) == {"majority_baseline": 0.25}
    assert task.confusion(truth, found).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_several_labels_as_a_list_or_a_string(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": ["b", "a"]}\n{"text": "y", "label": []}\n')
    (tmp_path / "a.tsv").write_text("text\tlabel\nx\tb, a\ny\t\n")
    data = FinetuneDataConfig(max_seq_length=4)
    for name in ("a.jsonl", "a.tsv"):
        found = MultiLabel.read(data, str(tmp_path / name), "data.train", labelled=True)
        assert [example["label"] for example in found] == [["b", "a"], []]
    task = MultiLabel(labels=MultiLabel.learn_labels(found, data, "f"), data=data)
    assert task.rows(found, Tokenizer(vocabulary), labelled=True).arrays["label_values"].tolist() == [[1, 1], [0, 0]]
    answers = task.answers(found, None, {"logits": np.array([[2.0, -1.0], [-3.0, 0.0]])})
    assert [answer["labels"] for answer in answers] == [["a"], ["b"]]
    # One of two given labels found, one found that was not given: F1 2 x 1 / (2 + 2).
    assert task.scores(found, answers)["micro_f1"] == 0.5
    assert task.scores(found, answers)["exact_match"] == 0.0
    assert task.baseline(found, found) == {"majority_baseline": 0.5}


def test_numbers_and_their_scores_by_hand(tmp_path, vocabulary):
    (tmp_path / "a.tsv").write_text("text\tlabel\nx\t1\ny\t2.5\n")
    found = Regression.read(FinetuneDataConfig(), str(tmp_path / "a.tsv"), "data.train", labelled=True)
    assert [example["label"] for example in found] == [1.0, 2.5]
    task = Regression(data=FinetuneDataConfig(max_seq_length=4))
    assert task.rows(found, Tokenizer(vocabulary), labelled=True).arrays["label_values"].tolist() == [[1], [2.5]]
    truth = [{"label": float(x)} for x in (1, 2, 3, 4)]
    scores = task.scores(truth, [{"value": float(x)} for x in (1, 3, 2, 8)])
    # Ranks 1 3 2 4 against 1 2 3 4: 1 - 6 x 2 / (4 x 15).
    assert scores["spearman"] == pytest.approx(0.8)
    assert scores["mean_squared_error"] == (0 + 1 + 1 + 16) / 4
    # Deviations (-1.5, -.5, .5, 1.5) and (-2.5, -.5, -1.5, 4.5): 10 / sqrt(5 x 29).
    assert scores["pearson"] == pytest.approx(10 / np.sqrt(5 * 29))
    assert task.scores(truth, [{"value": 1.0}] * 4)["spearman"] == 0.0
    (tmp_path / "a.tsv").write_text("text\tlabel\nx\tmuch\n")
    with pytest.raises(InputError, match="a.tsv:2: label: expected a number. Received: 'much'."):
        Regression.read(FinetuneDataConfig(), str(tmp_path / "a.tsv"), "data.train", labelled=True)


def test_table_of_tasks():
    assert task_named("classification") is Classification
    assert name_for("BertForSequenceClassification", {}, "m") == "classification"
    assert name_for("BertForSequenceClassification", {"id2label": {"0": "LABEL_0"}}, "m") == "regression"
    assert name_for("BertForPreTraining", {}, "m") == "fill_mask"
    with pytest.raises(InputError, match="task=poetry: expected one of classification"):
        task_named("poetry")
    with pytest.raises(InputError, match="--model m: expected a model with a head, .* Received: BertModel"):
        name_for("BertModel", {}, "m")
    for name in TASKS:
        assert task_named(name).name == name
