"""Chinese answers are scored as CMRC 2018's script does; the values are that script's, worked out by hand."""

import pytest

from bert_tf.tasks.question_answering import QuestionAnswering
from bert_tf.tasks.shared import cmrc_scores, squad_scores
from bert_tf.tasks.shared.answers import AnswerHeadConfig


@pytest.mark.parametrize(
    ("truth", "found", "exact", "f1"),
    [
        ("北京大学", "北京大学", 1.0, 1.0),
        ("《北京大学》。", "北京大学", 1.0, 1.0),  # signs of the list do not count
        ("北京大学", "在北京", 0.0, 2 * 2 / (4 + 3)),  # the run 北京
        ("北京大学", "北大", 0.0, 2 * 1 / (4 + 2)),  # a run, not a set: 北 or 大
        ("Google的BERT", "bert", 0.0, 2 * 1 / (3 + 1)),  # google, 的, bert
        ("1998年", "1998", 0.0, 2 * 1 / (2 + 1)),
        ("a-b c", "ab c", 1.0, 1.0),  # signs are left out before words are split
        ("北京", "上海", 0.0, 0.0),
        ("3.5%", "3.5", 0.0, 2 * 1 / (2 + 1)),  # NLTK's words: 3.5 and %
        ("北京…", "北京", 0.0, 2 * 2 / (3 + 2)),  # the script's list has the sign twice, which no character is
        ("", "", 1.0, 1.0),
        ("北京", "", 0.0, 0.0),
    ],
)
def test_an_answer_by_hand(truth, found, exact, f1):
    assert cmrc_scores.exact_match(truth, found) == exact
    assert cmrc_scores.f1(truth, found) == pytest.approx(f1)


def test_the_config_chooses_the_rules():
    asked = [{"place": "q", "context": "北京大学在北京。他们", "answers": [{"text": "北京大学", "start": 0}]}]
    given = [{"answer": "北京大", "n_best": [], "no_answer_score": 0.0}]
    by_words, by_characters = (
        QuestionAnswering(settings=AnswerHeadConfig(scoring=scoring)) for scoring in ("squad", "cmrc2018")
    )
    assert by_words.scores(asked, given)["f1"] == 0.0  # one word against another
    assert by_characters.scores(asked, given)["f1"] == pytest.approx(2 * 3 / (4 + 3))
    assert by_characters.scores(asked, given)["exact_match"] == 0.0
    # The first sentence is 北京大学在北京: seven characters, of which four are the answer.
    assert by_characters.baseline([], asked)["first_sentence_baseline_f1"] == pytest.approx(2 * 4 / (4 + 7))
    threshold = squad_scores.best_threshold([["北京大学"], []], ["北京大", "x"], [-1.0, 1.0], cmrc_scores.CMRC2018)
    assert threshold == {"best_f1": pytest.approx((6 / 7 + 1) / 2), "best_no_answer_threshold": -1.0}
