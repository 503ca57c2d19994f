"""Exact match and F1 of Chinese answers as CMRC 2018's evaluation script defines them (Cui et al. 2019).

The units are Chinese characters and English words. F1 counts the longest common substring of units.
"""

import difflib
import functools
import re

from bert_tf.tasks.shared.squad_scores import Rules

# The list of the script; it treats other punctuation as text.
_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile("([\u4e00-\u9fa5])")


@functools.cache
def _split_words():
    """NLTK's rules for English words; imported on first use, since the import takes a second."""
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize


def _bare(text: str) -> str:
    return text.lower().strip().translate(_PUNCTUATION)


def units(text: str) -> list[str]:
    """Chinese characters, and the words between them, in lower case and without punctuation.

    >>> units("《BERT》是Google的。")
    ['bert', '是', 'google', '的']
    """
    parts = [part for part in _CHINESE.split(_bare(text)) if part]
    return [unit for part in parts for unit in ([part] if _CHINESE.match(part) else _split_words()(part))]


def exact_match(truth: str, found: str) -> float:
    """1 if both are equal without case and punctuation, else 0."""
    return float(_bare(truth) == _bare(found))


def f1(truth: str, found: str) -> float:
    """F1 of the longest common substring of units. If an answer is empty: 1 if both are, else 0."""
    if not truth.strip() or not found.strip():
        return float(truth.strip() == found.strip())
    expected, given = units(truth), units(found)
    matcher = difflib.SequenceMatcher(None, expected, given, autojunk=False)
    shared = matcher.find_longest_match().size
    return 2.0 * shared / (len(expected) + len(given)) if shared else 0.0


CMRC2018 = Rules(exact_match, f1, lambda text: not text.strip())
