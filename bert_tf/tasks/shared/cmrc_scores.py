"""Exact match and F1 of Chinese answers as CMRC 2018's evaluation script defines them (Cui et al. 2019).

A Chinese character is a unit, and so is an English word. F1 is of the longest run of units that both answers have.
"""

import difflib
import functools
import re

from bert_tf.tasks.shared.squad_scores import Rules

# The script's own list; other signs count as text.
_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile("([\u4e00-\u9fa5])")


@functools.cache
def _split_words():
    """NLTK's rules for English words; imported late, since it takes a second."""
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize


def _bare(text: str) -> str:
    return text.lower().strip().translate(_PUNCTUATION)


def units(text: str) -> list[str]:
    """Lower case, without punctuation: Chinese characters, and the words of what stands between them.

    >>> units("《BERT》是Google的。")
    ['bert', '是', 'google', '的']
    """
    parts = [part for part in _CHINESE.split(_bare(text)) if part]
    return [unit for part in parts for unit in ([part] if _CHINESE.match(part) else _split_words()(part))]


def exact_match(truth: str, found: str) -> float:
    """1 if both are the same without punctuation, else 0."""
    return float(_bare(truth) == _bare(found))


def f1(truth: str, found: str) -> float:
    """Of the longest run of units that both share; where one answer is none, 1 if the other is none either."""
    if not truth.strip() or not found.strip():
        return float(truth.strip() == found.strip())
    expected, given = units(truth), units(found)
    matcher = difflib.SequenceMatcher(None, expected, given, autojunk=False)
    shared = matcher.find_longest_match().size
    return 2.0 * shared / (len(expected) + len(given)) if shared else 0.0


CMRC2018 = Rules(exact_match, f1, lambda text: not text.strip())
