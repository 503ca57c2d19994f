"""Texts of more tokens than a row: truncated, head and tail, or windows whose outputs are pooled; and what is lost."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.models.model import INPUTS
from bert_tf.serving.export.signatures import signatures
from bert_tf.tasks.classification import Classification
from bert_tf.tasks.embedding import Embedding
from bert_tf.tasks.graph import TaskGraph, caller, outputs_of, task_model
from bert_tf.tasks.multi_label import MultiLabel, MultiLabelDataConfig
from bert_tf.tasks.multiple_choice import ChoiceDataConfig, MultipleChoice
from bert_tf.tasks.question_answering import QuestionAnswering
from bert_tf.tasks.regression import Regression
from bert_tf.tasks.shared.answers import AnswerDataConfig
from bert_tf.tasks.shared.sections import ClassDataConfig, TextDataConfig
from bert_tf.tasks.shared.truncation import Truncation
from bert_tf.tasks.token_classification import TagDataConfig, TokenClassification
from bert_tf.text.wordpiece import Tokenizer
from tests.support.training import OneStep

LETTERS = "abcdefghij"


def examples(*texts, label="x"):
    return [{"place": f"text {n}", "text": text, "label": label} for n, text in enumerate(texts, start=1)]


def classification(length: int = 6, **data) -> Classification:
    return Classification(labels=["x", "y"], data=ClassDataConfig(max_seq_length=length, **data))


def rows_of(task, vocabulary, asked) -> tuple[list[str], object]:
    """The rows as text, and what graph.rows gives."""
    rows = TaskGraph(task, Tokenizer(vocabulary)).rows(asked, labelled=False)
    ids = rows.arrays["input_word_ids"]
    words = [" ".join(vocabulary.tokens[i] for i in row if i) for row in ids]
    return [text.replace("[CLS]", "<").replace("[SEP]", ">") for text in words], rows


def test_windows_hold_every_token_and_overlap_by_the_stride(vocabulary):
    asked = examples(" ".join(LETTERS), "a b", "")
    rows, found = rows_of(classification(long_texts="windows"), vocabulary, asked)
    assert rows == ["< a b c d >", "< e f g h >", "< i j >", "< a b >", "< >"]
    assert found.arrays["input_mask"].sum(axis=1).tolist() == [6, 6, 4, 4, 2]
    assert not found.arrays["input_type_ids"].any()
    assert found.notes == {"in several windows of 6 tokens": 1}
    assert found.truncation == Truncation(3, 0, 12, 0)
    rows, _ = rows_of(classification(long_texts="windows", window_stride=3), vocabulary, asked[:1])
    assert rows == ["< a b c d >", "< d e f g >", "< g h i j >"]
    # A stride beyond a window would leave tokens out.
    rows, _ = rows_of(classification(long_texts="windows", window_stride=9), vocabulary, asked[:1])
    assert rows == ["< a b c d >", "< e f g h >", "< i j >"]


def test_windows_beyond_the_most_are_not_read_and_counted(vocabulary):
    asked = examples(" ".join(LETTERS), "a b")
    task = classification(long_texts="windows", max_windows=2, window_stride=3)
    rows, found = rows_of(task, vocabulary, asked)
    assert rows == ["< a b c d >", "< d e f g >", "< a b >"]
    assert found.truncation == Truncation(2, 1, 12, 3)
    assert found.notes == {"in several windows of 6 tokens": 1}
    answers = TaskGraph(task, Tokenizer(vocabulary)).answers(asked, found, {"logits": np.zeros((3, 2), np.float32)})
    assert [answer.get("truncated_tokens") for answer in answers] == [3, None]


def test_windows_of_a_pair_all_hold_its_first_text(vocabulary):
    asked = [
        {"place": "1", "text": "the cat", "second_text": "a b c d e"},
        {"place": "2", "text": "a b c d e f", "second_text": "the"},
    ]
    task = classification(8, long_texts="windows", second_text_field="second")
    rows, found = rows_of(task, vocabulary, asked)
    # A row of 8 has room for 5; the first text is truncated to the 4 that the second one leaves.
    assert rows == ["< the cat > a b c >", "< the cat > d e >", "< a b c d > the >"]
    assert found.arrays["input_type_ids"].tolist()[0] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found.truncation == Truncation(2, 1, 14, 2)
    with pytest.raises(
        InputError, match="data.max_seq_length: expected at least 5, for windows of pairs. Received: 4."
    ):
        classification(4, long_texts="windows", second_text_field="second")


def test_head_and_tail_are_those_of_the_paper(vocabulary):
    """Sun et al. 2019, 5.3.1: the first 128 and the last 382 tokens of 510."""
    words = [LETTERS[n % 10] for n in range(700)]
    rows, found = rows_of(classification(512, long_texts="head_tail"), vocabulary, examples(" ".join(words)))
    assert rows[0].split()[1:-1] == words[:128] + words[-382:]
    assert found.truncation == Truncation(1, 1, 700, 190)
    rows, _ = rows_of(classification(long_texts="head_tail", tail_share=0.5), vocabulary, examples("a b c d e", "a b"))
    assert rows == ["< a b d e >", "< a b >"]
    # Of pairs the longer text gives way first; what is left of it is its head and tail.
    pair = [{"place": "1", "text": "the cat", "second_text": " ".join(LETTERS)}]
    task = classification(9, long_texts="head_tail", tail_share=0.5, second_text_field="second")
    assert rows_of(task, vocabulary, pair)[0] == ["< the cat > a b i j >"]
    vectors = Embedding(data=TextDataConfig(max_seq_length=6, long_texts="head_tail"))
    assert rows_of(vectors, vocabulary, [{"place": "1", "text": "a b c d e"}])[0] == ["< a c d e >"]


@pytest.mark.parametrize(("pooling", "values"), [("mean", [1.0, 2.0]), ("max", [3.0, 5.0])])
def test_answers_are_of_the_pooled_logits(vocabulary, pooling, values):
    """Of three windows [3, -1], [-1, 2] and [1, 5], and of one, [0.5, -0.5]."""
    asked = examples(" ".join(LETTERS), "a b")
    logits = np.array([[3, -1], [-1, 2], [1, 5], [0.5, -0.5]], np.float32)
    long = {"max_seq_length": 6, "long_texts": "windows", "window_pooling": pooling}

    def answers(task, outputs):
        graph = TaskGraph(task, Tokenizer(vocabulary))
        return graph.answers(asked, graph.rows(asked, labelled=False), {"logits": outputs})

    first, second = answers(Classification(labels=["x", "y"], data=ClassDataConfig(**long)), logits)
    chances = np.exp(values) / np.exp(values).sum()
    assert list(first["probabilities"].values()) == pytest.approx(chances, abs=1e-6)
    assert (first["label"], second["label"]) == ("y", "x")
    first, second = answers(MultiLabel(labels=["x", "y"], data=MultiLabelDataConfig(**long)), logits)
    assert list(first["probabilities"].values()) == pytest.approx(1 / (1 + np.exp(-np.array(values))), abs=1e-6)
    assert (first["labels"], second["labels"]) == (["x", "y"], ["x"])
    first, second = answers(Regression(data=TextDataConfig(**long)), logits[:, :1])
    assert (first["value"], second["value"]) == (values[0], 0.5)


@pytest.fixture
def model(small_config, vocabulary):
    keras.utils.set_random_seed(0)
    task = classification(8, long_texts="windows", window_stride=4, window_pooling="max")
    return task, task_model(task, dataclasses.replace(small_config, vocab_size=len(vocabulary)), dropout=0.0)


def test_training_evaluation_and_prediction_pool_the_same_logits(vocabulary, model):
    """The objective pools [examples, windows, length]; `decode` pools rows: accuracy and answers must agree."""
    task, network = model
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list(LETTERS), n)) for n in (3, 17, 9, 30, 6, 0)]
    asked = [example | {"label": "xy"[n % 2]} for n, example in enumerate(examples(*texts))]
    graph, call = TaskGraph(task, Tokenizer(vocabulary)), caller(network)
    flat, trained = (graph.rows(asked, labelled=labelled) for labelled in (False, True))
    assert (flat.size, trained.size) == (1 + 4 + 2 + 7 + 1 + 1, 6)
    assert trained.arrays["input_word_ids"].shape == (6, 7, 8)
    assert trained.arrays["label_weights"].tolist() == [1] * 6
    answers = graph.answers(asked, flat, outputs_of(task, call, flat.arrays))
    outputs = outputs_of(task, call, trained.arrays)
    assert outputs["logits"].shape == (6, 7, 2)
    for one, other in zip(answers, graph.answers(asked, trained, outputs), strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)
    sums, _ = task.objective().sums(
        network, {k: tf.constant(x) for k, x in trained.arrays.items()}, None, training=False
    )
    expected = -sum(
        np.log(answer["probabilities"][example["label"]]) for answer, example in zip(answers, asked, strict=True)
    )
    assert float(sums["classification_loss"][0]) == pytest.approx(expected, rel=1e-4)
    assert float(sums["accuracy"][0]) == sum(a["label"] == e["label"] for a, e in zip(answers, asked, strict=True))


@pytest.mark.parametrize("microbatches", [1, 2])
def test_gradients_do_not_depend_on_padding_or_microbatches(vocabulary, model, microbatches):
    task, network = model
    asked = examples(*(" ".join(LETTERS[:n]) for n in (10, 2, 7, 4)))
    arrays = TaskGraph(task, Tokenizer(vocabulary)).rows(asked, labelled=True).arrays
    padded = {k: np.pad(x, [(0, 0), (0, 2), (0, 0)]) if k in INPUTS else x for k, x in arrays.items()}
    found, metrics = OneStep(network, task.objective(), microbatches=microbatches).gradients(padded)
    expected, expected_metrics = OneStep(network, task.objective()).gradients(arrays)
    np.testing.assert_allclose(metrics, expected_metrics, rtol=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_served_graph_pools_windows_too(vocabulary, model):
    task, network = model
    tokenizer = Tokenizer(vocabulary)
    graph = TaskGraph(task, tokenizer)
    texts = [" ".join(LETTERS), "a", "", "b c " * 40]
    asked = examples(*texts)
    rows = graph.rows(asked, labelled=False)
    answers = graph.answers(asked, rows, outputs_of(task, caller(network), rows.arrays))
    made = signatures(task, network, tokenizer)
    served = made["serving_default"].function(tf.constant(texts))
    expected = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(served["probabilities"], expected, atol=2e-6)
    assert [label.decode() for label in served["label"].numpy()] == [answer["label"] for answer in answers]
    assert made["serving_default"].function(tf.constant([], tf.string))["probabilities"].shape == (0, 2)
    assert answers[3]["truncated_tokens"] == 80 - (6 + 7 * 4)  # of eight windows, four tokens apart


def test_tasks_that_cannot_read_long_texts_in_a_way_refuse_it():
    for task_class, data, wanted, taken in (
        (Embedding, TextDataConfig, "windows", "truncate or head_tail"),
        (MultipleChoice, ChoiceDataConfig, "head_tail", "truncate"),
        (TokenClassification, TagDataConfig, "windows", "truncate"),
    ):
        with pytest.raises(InputError, match=f"data.long_texts={wanted}: task={task_class.name} takes {taken}. See"):
            task_class(data=data(long_texts=wanted))
    with pytest.raises(InputError, match="data.max_windows must be >= 1 and <= 64. Received: 65."):
        ClassDataConfig(max_windows=65)


def test_every_task_counts_what_it_does_not_read(vocabulary):
    def truncation(task, example):
        return TaskGraph(task, Tokenizer(vocabulary)).rows([{"place": "x", **example}], labelled=False).truncation

    ten = " ".join(LETTERS)
    assert truncation(classification(), {"text": ten}) == Truncation(1, 1, 10, 6)
    assert str(truncation(classification(), {"text": ten})) == (
        "1 of 1 examples truncated (100.00%), 6 of 10 tokens not read (60.00%)"
    )
    pair = {"text": ten, "second_text": "a b c d e"}
    assert truncation(Embedding(data=TextDataConfig(max_seq_length=6)), pair) == Truncation(1, 1, 15, 7)
    choices = {"text": "a b", "choices": ["c", ten]}
    # [CLS] a b [SEP] c d e f [SEP]: of ten tokens three are read, one goes to the shorter text's room.
    assert truncation(MultipleChoice(data=ChoiceDataConfig(max_seq_length=8)), choices) == Truncation(1, 1, 15, 7)
    # The question is truncated to two tokens; the context goes on in windows.
    question = {"id": "1", "text": "a b c", "context": ten}
    data = AnswerDataConfig(max_seq_length=9, doc_stride=4, max_query_length=2)
    assert truncation(QuestionAnswering(data=data), question) == Truncation(1, 1, 13, 1)
    tagging = TokenClassification(labels=["O", "B-X"], data=TagDataConfig(max_seq_length=5))
    assert truncation(tagging, {"text": ten}) == Truncation(1, 0, 10, 0)  # goes on in further rows
    # A word of five pieces, of which a row holds three.
    assert truncation(tagging, {"words": ["xyzvw", "a"]}) == Truncation(1, 1, 6, 2)
