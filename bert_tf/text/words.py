"""Where words begin and end: white space, punctuation, ideographs."""

import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.text.normalizer import GOOGLE, Normalizer, NormalizerConfig

_CJK = (
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{2F800}-\x{2FA1F}"
)
_PUNCTUATION = r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}"
# Characters of ordinary text that certainly end a word; not all of them, so that expressions stay small.
_WORD_ENDS = (
    r"\t\n\r -/:-@\[-`{-~\x{A0}\x{2000}-\x{200A}\x{2010}-\x{2029}\x{2030}-\x{2043}\x{3000}-\x{3002}\x{3008}-\x{3011}"
)
_LONGEST_ORDINARY_WORD = 33  # more would not fit into the memory that RE2 gives its automaton


def split(normalized: tf.Tensor, *, split_cjk: bool) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Words of normalized texts, where they begin and where they end: string [n] -> ragged [n, words] each."""
    alone = f"{_PUNCTUATION}|[{_CJK}]" if split_cjk else _PUNCTUATION
    return tf_text.regex_split_with_offsets(normalized, rf"\p{{Z}}|{alone}", alone)


def longest(normalized: tf.Tensor, *, split_cjk: bool) -> tf.Tensor:
    """Characters of the longest word of all texts: string [n] -> int32. Never too few, seldom too many."""
    # `split` would have its expression compiled anew in every call.
    spaced = tf.strings.regex_replace(normalized, f"[{_WORD_ENDS}{_CJK if split_cjk else ''}]", " ")
    lengths = tf.strings.length(tf.strings.split(spaced).values, unit="UTF8_CHAR")
    return tf.reduce_max(tf.concat([lengths, [0]], axis=0))


def split_words(texts: tf.Tensor, *, lower_case: bool) -> tf.RaggedTensor:
    """The words that WordPiece sees: string [n] -> ragged string [n, words]. For use in a tf.function."""
    normalizer = Normalizer(NormalizerConfig(lower_case, strip_accents=lower_case))
    words, _, _ = split(normalizer.normalize(texts, normalizer.find_rare(texts)), split_cjk=True)
    return words


def ordinary(normalizer: Normalizer, *, max_word_length: int, split_cjk: bool) -> str:
    """The regular expression of texts that need no preparation and whose words cannot exceed max_word_length.

    Args:
      normalizer: what will normalize the texts.
      max_word_length: characters of a word after normalization.
      split_cjk: ideographs are words.
    """
    ends = _WORD_ENDS + (_CJK if split_cjk and normalizer.config.rules == GOOGLE else "")
    longest = min(_LONGEST_ORDINARY_WORD, max_word_length // normalizer.expansion)
    word = f"[^{ends}{normalizer.rare}]{{0,{longest}}}"
    return f"(?:{word}[{ends}])*{word}"
