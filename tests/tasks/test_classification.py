import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.serving.export.signatures import signatures
from bert_tf.tasks.classification import Classification
from bert_tf.tasks.embedding import Embedding
from bert_tf.tasks.graph import TaskGraph, task_model
from bert_tf.tasks.multi_label import MultiLabel, MultiLabelDataConfig, MultiLabelHeadConfig
from bert_tf.tasks.regression import Regression
from bert_tf.tasks.shared.sections import ClassDataConfig, TextDataConfig
from bert_tf.tasks.task import TASKS, task_for, task_named
from bert_tf.text.wordpiece import Tokenizer

PAIRS = ClassDataConfig(max_seq_length=8, second_text_field="second")


def examples(*labels):
    return [{"place": f"x:{n}", "text": "the cat", "label": label} for n, label in enumerate(labels, start=1)]


def logits(values) -> dict[str, np.ndarray]:
    """Made-up outputs of a model, float32 as a model's are."""
    return {"logits": np.array(values, np.float32)}


def answers(task, vocabulary, asked, outputs) -> list[dict]:
    """The task's answers where its model gives `outputs` for the examples' rows."""
    graph = TaskGraph(task, Tokenizer(vocabulary))
    return graph.answers(asked, graph.rows(asked, labelled=False), outputs)


def test_rows_labels_and_an_unknown_label(vocabulary):
    graph = TaskGraph(Classification(labels=["a", "b"], data=ClassDataConfig(max_seq_length=4)), Tokenizer(vocabulary))
    rows = graph.rows(
        [{"place": "x:1", "text": "the cat", "label": "b"}, {"place": "x:2", "text": "dog", "label": "a"}],
        labelled=True,
    )
    assert rows.arrays["label_ids"].tolist() == [1, 0]
    assert rows.arrays["label_weights"].tolist() == [1, 1]
    assert rows.arrays["input_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    with pytest.raises(InputError, match="x:2: expected a label of a, b. Received: 'c'."):
        graph.rows(examples("a", "c"), labelled=True)
    with pytest.raises(InputError, match="x:2: expected a label of a, b. Received: 'c'."):
        graph.task.check_labels(examples("a", "c"))


def test_long_texts_are_truncated_and_counted(vocabulary):
    task = Classification(labels=["a", "b"], data=ClassDataConfig(max_seq_length=8))
    many = [{"place": "x", "text": text} for text in ("cat " * 10_000, "cat " * 6, "cat " * 7)]
    rows = TaskGraph(task, Tokenizer(vocabulary)).rows(many, labelled=False)
    assert rows.arrays["input_word_ids"].shape == (3, 8) and rows.size == 3
    assert (rows.truncation.truncated, rows.notes) == (2, {})  # one count, and not a second one in the notes
    pairs = TaskGraph(Classification(labels=["a", "b"], data=PAIRS), Tokenizer(vocabulary))
    # [CLS] and two [SEP] leave five tokens for both texts.
    many = [{"place": "x", "text": "cat " * n, "second_text": "dog"} for n in (4, 5)]
    assert pairs.rows(many, labelled=False).truncation.truncated == 1


def test_thousands_of_texts_are_framed_in_chunks_and_answered_in_order(vocabulary):
    task = Classification(labels=["a", "b"], data=ClassDataConfig(max_seq_length=8))
    graph = TaskGraph(task, Tokenizer(vocabulary))
    words = ("the", "cat", "dog", "mat")
    many = [{"place": "x", "text": " ".join(words[: n % 4]), "label": "ab"[n % 2]} for n in range(2500)]
    rows = graph.rows(many, labelled=True)
    assert rows.size == 2500 and len(rows.chunks) > 1
    assert rows.arrays["input_mask"].sum(axis=1).tolist() == [n % 4 + 2 for n in range(2500)]
    assert rows.arrays["label_ids"].tolist() == [n % 2 for n in range(2500)]
    found = graph.answers(many, rows, logits([[n % 3 == 0, 0.5] for n in range(2500)]))
    assert [answer["label"] for answer in found] == ["ba"[n % 3 == 0] for n in range(2500)]
    assert [answer["text"] for answer in found] == [example["text"] for example in many]


def test_pairs_have_types(vocabulary, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tsecond\tlabel\nthe cat\tdog\ta\n")
    found = Classification.read(PAIRS, str(tmp_path / "a.tsv"), "data.train", labelled=True)
    assert found == [
        {"place": f"{tmp_path}/a.tsv:2", "text": "the cat", "second_text": "dog", "label": "a"},
    ]
    rows = TaskGraph(Classification(labels=["a", "b"], data=PAIRS), Tokenizer(vocabulary)).rows(found, labelled=True)
    assert rows.arrays["input_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    assert rows.notes == {}


@pytest.mark.parametrize("task", [Classification(labels=["a", "b"], data=PAIRS), Embedding(data=PAIRS)])
def test_pairs_are_framed_by_the_names_of_their_columns(vocabulary, task):
    """Parsed tf.Examples have their columns in the order of the alphabet."""
    columns = {"second_text": tf.constant(["dog"]), "text": tf.constant(["the cat"])}
    first, second = (
        task.frame(Tokenizer(vocabulary), dict(items), fixed_length=True, most_rows=None).rows["input_word_ids"]
        for items in (columns.items(), reversed(columns.items()))
    )
    np.testing.assert_array_equal(first, second)
    assert vocabulary.tokens[int(np.ravel(first)[1])] == "the"


def test_labels_are_sorted_or_as_the_config_has_them_and_more_than_one():
    data = ClassDataConfig()
    assert Classification.learn_labels(examples("b", "a", "b"), data, "f") == ["a", "b"]
    given = ClassDataConfig(labels=("z", "a"))
    assert Classification.learn_labels(examples("b", "a", "b"), given, "f") == ["z", "a"]
    with pytest.raises(InputError, match="expected at least two different labels. Received only 'a'"):
        Classification.learn_labels(examples("a", "a"), data, "f")
    with pytest.raises(InputError, match="data.labels must differ. Received: a, a."):
        ClassDataConfig(labels=("a", "a"))


def test_serving_function_gives_labels_and_probabilities(small_config, vocabulary):
    keras.utils.set_random_seed(0)
    names = ["no", "yes", "ü"]
    task = Classification(labels=names, data=ClassDataConfig(max_seq_length=8))
    model = task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)))
    tokenizer = Tokenizer(vocabulary)
    serve = signatures(task, model, tokenizer)["serving_default"].function
    texts = ["the cat sat", "", "dog " * 50]
    answer = serve(tf.constant(texts))
    scores = np.asarray(model(tokenizer.pack(tf.constant(texts), max_seq_length=8))["logits"])
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["labels"].shape == (3, 3)
    assert [x.decode() for x in answer["label"].numpy()] == [names[i] for i in expected.argmax(axis=1)]


def test_answers_name_the_labels(vocabulary):
    task = Classification(labels=["no", "ü"], data=ClassDataConfig(max_seq_length=8))
    # Softmax of float32, in the graph; answers have six digits, which these have exactly.
    found = answers(task, vocabulary, examples("no"), logits(np.log([[0.25, 0.75]])))
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
    data = MultiLabelDataConfig(max_seq_length=4)
    for name in ("a.jsonl", "a.tsv"):
        found = MultiLabel.read(data, str(tmp_path / name), "data.train", labelled=True)
        assert [example["label"] for example in found] == [["b", "a"], []]
    task = MultiLabel(labels=MultiLabel.learn_labels(found, data, "f"), data=data)
    graph = TaskGraph(task, Tokenizer(vocabulary))
    assert graph.rows(found, labelled=True).arrays["label_values"].tolist() == [[1, 1], [0, 0]]
    # The sigmoid of 0 is the threshold, 0.5, from which on a label is given.
    given = answers(task, vocabulary, found, logits([[2.0, -1.0], [-3.0, 0.0]]))
    assert [answer["labels"] for answer in given] == [["a"], ["b"]]
    assert given[0]["probabilities"] == {"a": 0.880797, "b": 0.268941}  # 1 / (1 + exp(-2)), 1 / (1 + exp(1))
    # One of two given labels found, one found that was not given: F1 2 x 1 / (2 + 2).
    assert task.scores(found, given)["micro_f1"] == 0.5
    assert task.scores(found, given)["exact_match"] == 0.0
    assert task.baseline(found, found) == {"majority_baseline": 0.5}
    strict = MultiLabel(labels=["a", "b"], data=data, settings=MultiLabelHeadConfig(decision_threshold=0.9))
    assert [a["labels"] for a in answers(strict, vocabulary, found, logits([[2.0, -1.0], [-3.0, 3.0]]))] == [[], ["b"]]
    for threshold in (0.0, 1.0):
        with pytest.raises(InputError, match="head.decision_threshold must be > 0 and < 1. Received: "):
            MultiLabelHeadConfig(decision_threshold=threshold)
    with pytest.raises(InputError, match="data.label_separator must not be empty. Received: ''."):
        MultiLabelDataConfig(label_separator="")


def test_numbers_and_their_scores_by_hand(tmp_path, vocabulary):
    (tmp_path / "a.tsv").write_text("text\tlabel\nx\t1\ny\t2.5\n")
    found = Regression.read(TextDataConfig(), str(tmp_path / "a.tsv"), "data.train", labelled=True)
    assert [example["label"] for example in found] == [1.0, 2.5]
    task = Regression(data=TextDataConfig(max_seq_length=4))
    rows = TaskGraph(task, Tokenizer(vocabulary)).rows(found, labelled=True)
    assert rows.arrays["label_values"].tolist() == [[1], [2.5]]
    assert answers(task, vocabulary, found, logits([[0.5], [-2.0]])) == [
        {"text": "x", "value": 0.5},
        {"text": "y", "value": -2.0},
    ]
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
        Regression.read(TextDataConfig(), str(tmp_path / "a.tsv"), "data.train", labelled=True)


def test_table_of_tasks():
    assert task_named("classification") is Classification
    assert task_for(["sequence"], {}, "m") == "classification"
    assert task_for(["sequence"], {"id2label": {"0": "LABEL_0"}}, "m") == "regression"
    assert task_for(["sequence"], {"problem_type": "multi_label_classification"}, "m") == "multi_label"
    # Of BertForPreTraining's two heads the first task of the table counts.
    assert task_for(["masked_lm", "pair"], {}, "m") == "fill_mask"
    with pytest.raises(InputError, match="task=poetry: expected one of classification"):
        task_named("poetry")
    with pytest.raises(InputError, match="--model m: expected a model with a head. Received an encoder alone."):
        task_for([], {}, "m")
    for name in TASKS:
        assert task_named(name).name == name
        assert task_named(name).config_class().task == name
