"""Where words begin and end: white space, punctuation, ideographs."""

import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.text.normalizer import GOOGLE, Normalizer, NormalizerConfig

CJK_RANGES = (  # first and last code points
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
CJK = "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in CJK_RANGES)
_PUNCTUATION = r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}"
# Characters of ordinary text that certainly end a word; not all of them, so that expressions stay small.
_WORD_ENDS = (
    r"\t\n\r -/:-@\[-`{-~\x{A0}\x{2000}-\x{200A}\x{2010}-\x{2029}\x{2030}-\x{2043}\x{3000}-\x{3002}\x{3008}-\x{3011}"
)
_LONGEST_ORDINARY_WORD = 33  # more would not fit into the memory that RE2 gives its automaton


def split(normalized: tf.Tensor, *, split_cjk: bool) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Words of normalized texts, where they begin and where they end: string [n] -> ragged [n, words] each."""
    alone = f"{_PUNCTUATION}|[{CJK}]" if split_cjk else _PUNCTUATION
    return tf_text.regex_split_with_offsets(normalized, rf"\p{{Z}}|{alone}", alone)


def longest(normalized: tf.Tensor, *, split_cjk: bool) -> tf.Tensor:
    """Characters of the longest word of all texts: string [n] -> int32. Never too few, seldom too many."""
    # `split` would have its expression compiled anew in every call.
    spaced = tf.strings.regex_replace(normalized, f"[{_WORD_ENDS}{CJK if split_cjk else ''}]", " ")
    lengths = tf.strings.length(tf.strings.split(spaced).values, unit="UTF8_CHAR")
    return tf.reduce_max(tf.concat([lengths, [0]], axis=0))


def split_words(
    texts: tf.Tensor, *, lower_case: bool, strip_accents: bool | None = None, split_cjk: bool = True
) -> tf.RaggedTensor:
    """The words that WordPiece sees: string [n] -> ragged string [n, words]. For use in a tf.function.

    The settings are those of bert_tf.text.wordpiece.Tokenizer, with Google's rules.
    """
    strips = lower_case if strip_accents is None else strip_accents
    normalizer = Normalizer(NormalizerConfig(lower_case, strip_accents=strips))
    words, _, _ = split(normalizer.normalize(texts, normalizer.find_rare(texts)), split_cjk=split_cjk)
    return words


def ordinary(normalizer: Normalizer, *, max_word_length: int, split_cjk: bool) -> str:
    """The regular expression of texts that need no preparation and whose words cannot exceed max_word_length.

    Args:
      normalizer: what will normalize the texts.
      max_word_length: characters of a word after normalization.
      split_cjk: ideographs are words.
    """
    ends = _WORD_ENDS + (CJK if split_cjk and normalizer.config.rules == GOOGLE else "")
    longest = min(_LONGEST_ORDINARY_WORD, max_word_length // normalizer.expansion)
    word = f"[^{ends}{normalizer.rare}]{{0,{longest}}}"
    return f"(?:{word}[{ends}])*{word}"
