"""Exact match and F1 as SQuAD's official evaluation scripts define them (Rajpurkar et al. 2016 and 2018)."""

import collections
import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """The text in lower case, without ASCII punctuation, English articles and repeated white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(truth: str, found: str) -> float:
    """1 if the normalized texts are equal, else 0."""
    return float(normalized(truth) == normalized(found))


def f1(truth: str, found: str) -> float:
    """F1 of the words of the two answers. If an answer has no words: 1 if neither has any, else 0."""
    expected, given = normalized(truth).split(), normalized(found).split()
    if not expected or not given:
        return float(expected == given)
    shared = sum((collections.Counter(expected) & collections.Counter(given)).values())
    return 2.0 * shared / (len(expected) + len(given))


class Rules(NamedTuple):
    """How an answer is compared with a right one.

    Attributes:
      exact_match, f1: (right answer, given answer) -> 0 to 1.
      is_blank: whether a text is no answer.
    """

    exact_match: Callable[[str, str], float]
    f1: Callable[[str, str], float]
    is_blank: Callable[[str], bool]


SQUAD = Rules(exact_match, f1, lambda text: not normalized(text))


def scores(truth: Sequence[Sequence[str]], found: Sequence[str], rules: Rules = SQUAD) -> dict[str, float]:
    """Exact match and F1, 0 to 1: means over questions of the best score against any of the question's right answers.

    Args:
      truth: the right answers of each question; an empty list if it has none, and then only "" is right.
      found: the given answer to each question, "" for no answer.
      rules: how answers are compared.

    Returns:
      examples, exact_match, f1. If some questions have no right answer, also both scores of the answerable and of the
      unanswerable questions.
    """
    golds = [[answer for answer in answers if not rules.is_blank(answer)] or [""] for answers in truth]
    table = np.array(
        [
            [max(metric(gold, answer) for gold in answers) for metric in (rules.exact_match, rules.f1)]
            for answers, answer in zip(golds, found, strict=True)
        ]
    ).reshape(-1, 2)
    result = {"examples": len(table), **_means("", table)}
    has_answer = np.array([answers != [""] for answers in golds], bool)
    if not has_answer.all():
        result |= {**_means("answerable_", table[has_answer]), **_means("unanswerable_", table[~has_answer])}
    return result


def _means(prefix: str, table: np.ndarray) -> dict[str, float]:
    if not len(table):
        return {}
    return {f"{prefix}exact_match": float(table[:, 0].mean()), f"{prefix}f1": float(table[:, 1].mean())}


def best_threshold(
    truth: Sequence[Sequence[str]], spans: Sequence[str], no_answer_scores: Sequence[float], rules: Rules = SQUAD
) -> dict[str, float]:
    """The head.no_answer_threshold that gives the highest F1 on these questions, and that F1.

    Args:
      truth: as in `scores`.
      spans: the best non-empty answer to each question.
      no_answer_scores: the score of "no answer" less the score of that answer.
      rules: how answers are compared.
    """
    golds = [[answer for answer in answers if not rules.is_blank(answer)] for answers in truth]
    # Nothing is answered at first; then, by ascending score, one question after the other.
    order = np.argsort(no_answer_scores, kind="stable")
    gains = []
    for index in order:
        silent = float(not golds[index])
        gains.append(max((rules.f1(gold, spans[index]) for gold in golds[index]), default=0.0) - silent)
    total = np.cumsum([sum(float(not answers) for answers in golds), *gains])
    best = int(np.argmax(total))
    threshold = float(no_answer_scores[order[best - 1]]) if best else float(min(no_answer_scores)) - 1.0
    return {"best_f1": float(total[best] / len(golds)), "best_no_answer_threshold": threshold}
