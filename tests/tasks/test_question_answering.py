import json

import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.graph import TaskGraph
from bert_tf.tasks.question_answering import QuestionAnswering
from bert_tf.tasks.shared import squad_scores
from bert_tf.tasks.shared.answers import AnswerDataConfig, AnswerHeadConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer
from tests.support import reference_decoding as reference

TOKENS = [*SPECIAL_TOKENS, "who", "?", *"abcdefghij", "é", "##x"]
DATA = AnswerDataConfig(max_seq_length=9, doc_stride=2, max_query_length=2)


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


def graph(tokenizer, data=DATA, **head) -> TaskGraph:
    return TaskGraph(QuestionAnswering(data=data, settings=AnswerHeadConfig(**head)), tokenizer)


def scores(rows: int, value: float = 0.0) -> dict[str, np.ndarray]:
    """Made-up outputs of a model, float32 [rows, 9] as a model's are."""
    return {name: np.full((rows, 9), value, np.float32) for name in ("start_logits", "end_logits")}


def test_windows_slide_by_the_stride_and_hold_the_answer(tokenizer):
    # Row of 9: [CLS] who ? [SEP] leaves 4 for the context and 1 for [SEP].
    rows = graph(tokenizer).rows([example("a b c d e f g", "f g")], labelled=True)
    ids = [[TOKENS[i] for i in row if i] for row in rows.arrays["input_word_ids"]]
    start, end = ["[CLS]", "who", "?", "[SEP]"], ["[SEP]"]
    assert ids == [[*start, *"abcd", *end], [*start, *"cdef", *end], [*start, *"efg", *end]]
    assert rows.arrays["input_type_ids"].tolist() == [[0] * 4 + [1] * 5, [0] * 4 + [1] * 5, [0] * 4 + [1] * 4 + [0]]
    assert rows.arrays["input_mask"].tolist() == [[1] * 9, [1] * 9, [1] * 8 + [0]]
    # Only the last window holds both words; the others point to [CLS].
    assert rows.arrays["start_positions"].tolist() == [0, 0, 5]
    assert rows.arrays["end_positions"].tolist() == [0, 0, 6]
    assert rows.arrays["label_weights"].tolist() == [1, 1, 1]
    assert rows.notes == {"with a context of several windows": 1}


def test_each_token_is_judged_where_it_has_most_context(tokenizer):
    (chunk,) = graph(tokenizer).rows([example("a b c d e f g", "a")], labelled=True).chunks
    is_best, is_context = chunk.layout["is_best"], chunk.layout["is_context"]
    # Context on the poorer side: a b c d have 0 1 1 0 in the first window, c d e f 0 1 1 0 in the second, e f g 0 1 0
    # in the third, which is the shorter one.
    assert [best[held].tolist() for best, held in zip(is_best, is_context, strict=True)] == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True],
    ]
    assert not is_best[~is_context].any()


def test_answers_in_bytes_and_characters(tokenizer):
    subject, tasks = example("é é ax b", "ax"), graph(tokenizer)
    rows = tasks.rows([subject], labelled=True)
    # Tokens é é a ##x | b: the answer is of two pieces.
    assert (rows.arrays["start_positions"][0], rows.arrays["end_positions"][0]) == (6, 7)
    logits = scores(rows.size, -5.0)
    logits["start_logits"][0, 6] = logits["end_logits"][0, 7] = 5.0
    answer = tasks.answers([subject], rows, logits)[0]
    assert (answer["answer"], answer["start"], answer["end"]) == ("ax", 4, 6)
    assert answer["n_best"][0]["probability"] == pytest.approx(1.0, abs=1e-3)
    # Where the file has characters, the windows have bytes: é are two each.
    assert graph(tokenizer).rows([example("é é ax b", "é ax")], labelled=True).arrays["start_positions"][0] == 5


def test_spans_end_after_they_begin_and_are_not_too_long(tokenizer):
    subject, tasks = example("a b c d", "a"), graph(tokenizer)
    rows = tasks.rows([subject], labelled=False)
    logits = scores(1)
    logits["start_logits"][0, 6], logits["end_logits"][0, 4] = 9.0, 9.0  # c ... a is none
    logits["end_logits"][0, 7] = 1.0
    assert tasks.answers([subject], rows, logits)[0]["answer"] == "c d"
    logits["start_logits"][0, 4] = 8.5
    # a alone scores best of all; with a question mark as its end it would be outside the context.
    assert tasks.answers([subject], rows, logits)[0]["answer"] == "a"
    short = graph(tokenizer, max_answer_length=1)
    assert all(len(c["text"]) == 1 for c in short.answers([subject], rows, logits)[0]["n_best"])


def test_no_answer_is_given_beyond_the_threshold(tokenizer):
    subject = {**example("a b"), "answers": []}
    rows = graph(tokenizer, no_answer_threshold=0.0).rows([subject], labelled=True)
    assert rows.arrays["start_positions"].tolist() == [0]
    assert rows.arrays["label_weights"].tolist() == [1]
    logits = scores(1)
    logits["start_logits"][0, 0] = 2.0
    answers = [graph(tokenizer, no_answer_threshold=t).answers([subject], rows, logits)[0] for t in (0.0, 2.0)]
    assert [answer["no_answer_score"] for answer in answers] == [2.0, 2.0]
    assert [answer["answer"] for answer in answers] == ["", "a"]
    assert any(candidate["text"] == "" for candidate in answers[0]["n_best"])
    with pytest.raises(InputError, match="q1: expected an answer. Received a question without one, which takes"):
        graph(tokenizer).rows([subject], labelled=True)


def test_a_context_without_tokens_has_no_answer(tokenizer):
    subjects, tasks = [{**example(" "), "answers": []}, example("a", "a")], graph(tokenizer)
    rows = tasks.rows(subjects, labelled=False)
    assert rows.size == 2
    nothing, something = tasks.answers(subjects, rows, scores(2))
    assert (nothing["answer"], nothing["start"], nothing["end"], nothing["probability"]) == ("", 0, 0, 1.0)
    assert something["answer"] == "a"


def test_an_answer_that_is_not_in_its_context_is_counted_and_left_out(tokenizer):
    damaged = {**example("a b"), "answers": [{"text": "c", "start": 0}]}
    before = {**example("a b"), "answers": [{"text": "b", "start": -1}]}
    rows = graph(tokenizer).rows([damaged, example("a b", "b"), before], labelled=True)
    assert rows.arrays["label_weights"].tolist() == [0, 1, 0]
    assert rows.notes == {"skipped: the answer is not at its position in the context": 2}


def test_an_answer_that_no_window_holds_whole_is_counted_and_left_out(tokenizer):
    # Windows a b c d, c d e f, e f g: five words fit into none of them.
    rows = graph(tokenizer).rows([example("a b c d e f g", "b c d e f")], labelled=True)
    assert rows.arrays["label_weights"].tolist() == [0, 0, 0]
    assert rows.notes["skipped: no window holds the whole answer"] == 1


def test_long_questions_are_truncated_and_always_leave_room_for_a_context(tokenizer):
    rows = graph(tokenizer).rows([example("a", "a", question="a b c")], labelled=True)
    assert rows.notes == {"with a question truncated to 2 tokens": 1}
    # [CLS] a [SEP] a [SEP]: one token of each, whatever max_query_length allows.
    narrow = AnswerDataConfig(max_seq_length=5, max_query_length=2)
    rows = graph(tokenizer, narrow).rows([example("a b", "b", question="a b c")], labelled=True)
    assert [[TOKENS[i] for i in row] for row in rows.arrays["input_word_ids"]] == [
        ["[CLS]", "a", "[SEP]", "a", "[SEP]"],
        ["[CLS]", "a", "[SEP]", "b", "[SEP]"],
    ]
    assert rows.arrays["start_positions"].tolist() == [0, 3]
    assert rows.notes["with a question truncated to 1 tokens"] == 1
    with pytest.raises(InputError, match="data.max_seq_length: expected at least 5, .* Received: 4."):
        graph(tokenizer, AnswerDataConfig(max_seq_length=4))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"doc_stride": 0}, "data.doc_stride must be >= 1. Received: 0."),
        ({"max_query_length": 0}, "data.max_query_length must be >= 1. Received: 0."),
    ],
)
def test_windows_out_of_range_are_refused(fields, sentence):
    with pytest.raises(InputError) as error:
        AnswerDataConfig(**fields)
    assert str(error.value) == sentence
    with pytest.raises(InputError, match="head.n_best_size must be >= 1. Received: 0."):
        AnswerHeadConfig(n_best_size=0)


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_answers_are_those_of_the_definition(tokenizer, threshold):
    """Two hundred contexts of up to twelve words, with scores of which many are equal, against plain loops."""
    rng = np.random.default_rng(0)
    words = [*"abcdefghij", "é", "ax", "exx", "éx", "?"]
    subjects = [
        {**example(" ".join(rng.choice(words, rng.integers(0, 13)))), "text": ["who?", "who", ""][k % 3]}
        for k in range(200)
    ]
    tasks = graph(tokenizer, n_best_size=3, max_answer_length=3, no_answer_threshold=threshold)
    rows = tasks.rows(subjects, labelled=False)
    logits = {name: rng.integers(-4, 5, (rows.size, 9)).astype(np.float32) for name in ("start_logits", "end_logits")}
    found = tasks.answers(subjects, rows, logits)
    _, begins, ends = tokenizer.tokenize_with_offsets([subject["context"] for subject in subjects])
    row = 0
    for subject, answer, *bounds in zip(subjects, found, begins.to_list(), ends.to_list(), strict=True):
        asked = len(tokenizer.tokenize([subject["text"]]).to_list()[0])
        bounds = list(zip(*bounds, strict=True))
        stretches = reference.windows(len(bounds), 9 - 3 - asked, DATA.doc_stride)
        part = slice(row, row + len(stretches))
        expected = reference.answer(
            subject["context"],
            bounds,
            stretches,
            asked + 2,
            logits["start_logits"][part].tolist(),
            logits["end_logits"][part].tolist(),
            n_best=3,
            most_tokens=3,
            threshold=threshold,
        )
        row = part.stop
        assert [c["text"] for c in answer["n_best"]] == [c["text"] for c in expected["n_best"]], subject
        for ours, theirs in zip([answer, *answer["n_best"]], [expected, *expected["n_best"]], strict=True):
            for name, value in theirs.items():
                # Float32 in the graph, then rounded to six digits: half a unit of the last of them.
                if name != "n_best":
                    same = ours[name] == (pytest.approx(value, abs=2e-6) if isinstance(value, float) else value)
                    assert same, (subject, name)
    assert row == rows.size


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
    found = squad_scores.scores([["x y", "y z"], [], ["q"]], ["y z", "", ""])
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert (found["answerable_f1"], found["unanswerable_f1"]) == (0.5, 1.0)
    assert "answerable_f1" not in squad_scores.scores([["x"]], ["x"])


def test_best_threshold_by_hand():
    # Scores of nothing over something; answering all below 0 gives a right answer, below 2 a wrong one as well.
    found = squad_scores.best_threshold([["x"], [], ["y"]], ["x", "z", "y"], [-1.0, 0.5, 3.0])
    # Nothing answered: 1 of 3. The first: 2 of 3. The first two: 1 of 3. All: 2 of 3.
    assert found == {"best_f1": pytest.approx(2 / 3), "best_no_answer_threshold": -1.0}
