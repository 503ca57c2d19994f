import json

import numpy as np
import pytest

from bert_tf.core.config_finetune import FinetuneDataConfig, HeadConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks import squad_scores
from bert_tf.tasks.question_answering import QuestionAnswering
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer

TOKENS = [*SPECIAL_TOKENS, "who", "?", *"abcdefghij", "é", "##x"]
DATA = FinetuneDataConfig(max_seq_length=9, doc_stride=2, max_query_length=2)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(TOKENS, lower_case=False)


def example(context, *answers, question="who?"):
    return {
        "place": "q1",
        "id": "1",
        "text": question,
        "context": context,
        "answers": [{"text": text, "start": context.find(text)} for text in answers],
    }


def task(**head):
    return QuestionAnswering(data=DATA, head=HeadConfig(**head))


def test_windows_slide_by_the_stride_and_hold_the_answer(tokenizer):
    # Row of 9: [CLS] who ? [SEP] leaves 4 for the context and 1 for [SEP].
    rows = task().rows([example("a b c d e f g", "f g")], tokenizer, labelled=True)
    ids = [[TOKENS[i] for i in row if i] for row in rows.arrays["input_word_ids"]]
    start, end = ["[CLS]", "who", "?", "[SEP]"], ["[SEP]"]
    assert ids == [[*start, *"abcd", *end], [*start, *"cdef", *end], [*start, *"efg", *end]]
    assert rows.arrays["input_type_ids"].tolist() == [[0] * 4 + [1] * 5, [0] * 4 + [1] * 5, [0] * 4 + [1] * 4 + [0]]
    # Only the last window holds both words; the others point to [CLS].
    assert rows.arrays["start_positions"].tolist() == [0, 0, 5]
    assert rows.arrays["end_positions"].tolist() == [0, 0, 6]
    assert rows.arrays["label_weights"].tolist() == [1, 1, 1]
    assert rows.notes == {"with a context of several windows": 1}


def test_each_token_is_judged_where_it_has_most_context(tokenizer):
    windows = task().rows([example("a b c d e f g", "a")], tokenizer, labelled=True).extra["windows"]
    # Context on the poorer side: a b c d have 0 1 1 0 in the first window, c d e f 0 1 1 0 in the second, e f g 0 1 0
    # in the third, which is the shorter one.
    assert [w.is_best.tolist() for w in windows] == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True],
    ]


def test_answers_in_bytes_and_characters(tokenizer):
    subject = example("é é ax b", "ax")
    row = task().rows([subject], tokenizer, labelled=True)
    # Tokens é é a ##x | b: the answer is of two pieces.
    assert (row.arrays["start_positions"][0], row.arrays["end_positions"][0]) == (6, 7)
    logits = {name: np.full((len(row.extra["windows"]), 9), -5.0) for name in ("start_logits", "end_logits")}
    logits["start_logits"][0, 6] = logits["end_logits"][0, 7] = 5.0
    answer = task().answers([subject], row, logits)[0]
    assert (answer["answer"], answer["start"], answer["end"]) == ("ax", 4, 6)
    assert answer["n_best"][0]["probability"] == pytest.approx(1.0, abs=1e-3)


def test_spans_end_after_they_begin_and_are_not_too_long(tokenizer):
    subject = example("a b c d", "a")
    rows = task().rows([subject], tokenizer, labelled=False)
    logits = {"start_logits": np.zeros((1, 9)), "end_logits": np.zeros((1, 9))}
    logits["start_logits"][0, 6], logits["end_logits"][0, 4] = 9.0, 9.0  # c ... a is none
    logits["end_logits"][0, 7] = 1.0
    assert task().answers([subject], rows, logits)[0]["answer"] == "c d"
    logits["start_logits"][0, 4] = 8.5
    # a alone scores best of all; with a question mark as its end it would be outside the context.
    assert task().answers([subject], rows, logits)[0]["answer"] == "a"
    assert all(len(c["text"]) == 1 for c in task(max_answer_length=1).answers([subject], rows, logits)[0]["n_best"])


def test_no_answer_is_given_beyond_the_threshold(tokenizer):
    subject = {**example("a b"), "answers": []}
    rows = task(no_answer_threshold=0.0).rows([subject], tokenizer, labelled=True)
    assert rows.arrays["start_positions"].tolist() == [0]
    logits = {"start_logits": np.zeros((1, 9)), "end_logits": np.zeros((1, 9))}
    logits["start_logits"][0, 0] = 2.0
    answers = [task(no_answer_threshold=t).answers([subject], rows, logits)[0] for t in (0.0, 2.0)]
    assert [answer["no_answer_score"] for answer in answers] == [2.0, 2.0]
    assert [answer["answer"] for answer in answers] == ["", "a"]
    assert any(candidate["text"] == "" for candidate in answers[0]["n_best"])
    with pytest.raises(InputError, match="q1: expected an answer. Received a question without one, which takes"):
        task().rows([subject], tokenizer, labelled=True)


def test_an_answer_that_is_not_in_its_context_is_counted_and_left_out(tokenizer):
    damaged = {**example("a b"), "answers": [{"text": "c", "start": 0}]}
    rows = task().rows([damaged, example("a b", "b")], tokenizer, labelled=True)
    assert rows.arrays["label_weights"].tolist() == [0, 1]
    assert rows.notes == {"without their answer in the context, left out": 1}


def test_an_answer_that_no_window_holds_whole_is_counted_and_left_out(tokenizer):
    # Windows a b c d, c d e f, e f g: five words fit into none of them.
    rows = task().rows([example("a b c d e f g", "b c d e f")], tokenizer, labelled=True)
    assert rows.arrays["label_weights"].tolist() == [0, 0, 0]
    assert rows.notes["with an answer that no window holds whole, left out"] == 1


def test_long_questions_are_cut_and_rows_without_room_refused(tokenizer):
    rows = task().rows([example("a", "a", question="a b c")], tokenizer, labelled=True)
    assert rows.notes == {"with a question cut to 2 tokens": 1}
    narrow = QuestionAnswering(data=FinetuneDataConfig(max_seq_length=5, max_query_length=2))
    with pytest.raises(InputError, match="data.max_seq_length=5: expected room for a context"):
        narrow.rows([example("a", "a")], tokenizer, labelled=True)


def test_squad_files(tmp_path):
    paragraph = {
        "context": "a b",
        "qas": [
            {"id": "x", "question": "who?", "answers": [{"text": "b", "answer_start": 2}]},
            {"id": "y", "question": "who?", "answers": [], "is_impossible": True},
        ],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": [paragraph]}]}))
    found = QuestionAnswering.read(DATA, str(path), "data.train", labelled=True)
    assert [(e["id"], e["answers"]) for e in found] == [("x", [{"text": "b", "start": 2}]), ("y", [])]
    (tmp_path / "b.jsonl").write_text(
        '{"question": "who?", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}}\n'
    )
    (row,) = QuestionAnswering.read(DATA, str(tmp_path / "b.jsonl"), "data.train", labelled=True)
    assert row["answers"] == [{"text": "b", "start": 2}]
    for text, sentence in (
        ("{}", "expected SQuAD's layout, data, paragraphs, qas. Received none of 'data'."),
        ("{", "expected JSON"),
        ('{"data": []}', "expected at least one question. Received none."),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": 1, "question": "x"}]}]}]}', "question 1: answers:"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            QuestionAnswering.read(DATA, str(path), "data.train", labelled=True)
        assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("truth", "found", "exact", "f1"),
    [
        ("The Cat's hat.", "cats hat", 1, 1),
        ("a b", "b", 1, 1),  # "a" is an article
        ("big red cat", "red dog", 0, 0.4),  # one shared of 3 and 2
        ("red red cat", "red red red", 0, 2 * 2 / 6),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("the", "a", 1, 1),  # nothing is left of either
    ],
)
def test_squad_scores_of_an_answer_by_hand(truth, found, exact, f1):
    assert squad_scores.exact_match(truth, found) == exact
    assert squad_scores.f1(truth, found) == pytest.approx(f1)


def test_squad_scores_take_the_best_of_several_answers_and_tell_both_kinds():
    scores = squad_scores.scores([["x y", "y z"], [], ["q"]], ["y z", "", ""])
    assert scores["exact_match"] == pytest.approx(2 / 3)
    assert (scores["answerable_f1"], scores["unanswerable_f1"]) == (0.5, 1.0)
    assert "answerable_f1" not in squad_scores.scores([["x"]], ["x"])


def test_best_threshold_by_hand():
    # Scores of nothing over something; answering all below 0 gives a right answer, below 2 a wrong one as well.
    found = squad_scores.best_threshold([["x"], [], ["y"]], ["x", "z", "y"], [-1.0, 0.5, 3.0])
    # Nothing answered: 1 of 3. The first: 2 of 3. The first two: 1 of 3. All: 2 of 3.
    assert found == {"best_f1": pytest.approx(2 / 3), "best_no_answer_threshold": -1.0}
