"""Literals: strings that are one token wherever they occur in a text, such as added tokens and special tokens.

The rules are those of Hugging Face's `tokenizers` (added_vocabulary.rs). The leftmost match is taken first. If several
literals match at the same position, the longest one is taken. The text between two matches is tokenized separately.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.core.errors import require
from bert_tf.text.normalizer import HUGGINGFACE, STAND_INS, Normalizer
from bert_tf.text.segments import rows_of
from bert_tf.text.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary

_MOST_BYTES = 200_000  # of all literals together: RE2 takes too much time and memory to compile a larger expression
# The characters that \w matches in Rust: Alphabetic, marks, decimal digits, connectors, joiners.
WORD = (
    r"\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}"
    r"\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189}"
)
_HASH_RANGE = 2**62
_SPACE = r"\x{20}"
_SPACES = r"[ \x{2028}\x{2029}]"  # characters of normalized texts that Hugging Face treats as spaces


class Literals(tf.Module):
    """Splits texts at literals.

    Args:
      ids: {literal, as it is written in the texts: its id}.
      single_words: literals that match only as whole words, like added tokens with the flag single_word: no word
        character may touch them.
      also_word: characters that count as word characters in addition to `WORD`, written as inside the brackets of a
        regular expression; "" for none.
      not_word: characters of `WORD` that do not count as word characters; written in the same way.
      space: the regular expression that matches a space of a literal.
      source: names the literals in errors.

    Raises:
      InputError: the literals are too long for one regular expression.

    Example:
      `Literals({"[MASK]": 4}).split(tf.constant(["a [MASK]"]))` -> [["a ", "[MASK]"]], [[0, 2]], [[-1, 4]]
    """

    def __init__(
        self,
        ids: Mapping[str, int],
        *,
        single_words: Collection[str] = (),
        also_word: str = "",
        not_word: str = "",
        space: str = _SPACE,
        source: str = "vocabulary",
    ):
        super().__init__(name="literals")
        total = sum(len(literal.encode()) for literal in ids)
        require(total <= _MOST_BYTES, f"{source}: expected added tokens of at most {_MOST_BYTES} bytes together", total)
        # RE2 takes the first alternative that matches: the longest, if they are sorted.
        longest_first = sorted(ids, key=lambda literal: (-len(literal), literal))
        self._pattern = "|".join(_quoted(literal, space) for literal in longest_first)
        self._space = None if space == _SPACE else space
        with tf.init_scope():
            hashes = tf.strings.to_hash_bucket_fast([literal.encode() for literal in longest_first], _HASH_RANGE)
            hashes = hashes.numpy()
        require(len(set(hashes)) == len(hashes), f"{source}: expected added tokens of different hashes", longest_first)
        order = np.argsort(hashes)
        self._hashes = hashes[order]
        self._ids = np.array([ids[literal] for literal in longest_first], np.int32)[order]
        self._is_single = np.array([literal in single_words for literal in longest_first])[order]
        self._word, self._not_word = f"[{WORD}{also_word}]", f"[{not_word}]" if not_word else None

    def split(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Splits texts into literals and the segments between them.

        Args:
          texts: string [n], without NUL.

        Returns:
          The segments, string, whose concatenation is the text; the byte at which each segment begins, int64; and its
          id, int32, which is -1 for a segment between literals. All are ragged [n, segments].
        """
        segments, begins, _ = tf_text.regex_split_with_offsets(texts, self._pattern, self._pattern)
        is_literal = tf.strings.regex_full_match(segments.values, self._pattern)
        found = segments.values
        if self._space is not None:
            found = tf.strings.regex_replace(found, self._space, " ")
        index = tf.searchsorted(self._hashes, tf.strings.to_hash_bucket_fast(found, _HASH_RANGE))
        index = tf.minimum(index, len(self._hashes) - 1)
        if self._is_single.any():
            is_literal &= ~(tf.gather(self._is_single, index) & self._touches_word(segments))
        ids = tf.where(is_literal, tf.gather(self._ids, index), -1)
        if self._is_single.any():
            return _joined(segments, begins, ids)
        return segments, begins, segments.with_values(ids)

    def around(self, texts: tf.Tensor, tokenize: Callable[[tf.Tensor], list[tf.RaggedTensor]]) -> list:
        """Tokens of texts: ids of the literals, and what `tokenize` returns for the segments between them.

        Args:
          texts: string [n], without NUL.
          tokenize: string [k] -> ids, or ids, starts and ends, ragged [k, tokens].

        Returns:
          What `tokenize` returns, for whole texts: ragged [n, tokens].
        """
        segments, begins, literal_ids = self.split(texts)
        is_literal = literal_ids.values >= 0
        plain = tokenize(tf.where(is_literal, "", segments.values))
        ends = tf.cast(tf.strings.length(tf.boolean_mask(segments.values, is_literal)), tf.int64)
        ids = tf.boolean_mask(literal_ids.values, is_literal)
        parts = []
        for part, values in zip(plain, [ids, tf.zeros_like(ends), ends], strict=False):
            literal = tf.RaggedTensor.from_row_lengths(values, tf.cast(is_literal, tf.int64))
            part = tf.concat([literal, part], axis=1)
            if parts:  # starts and ends are offsets in the segment; make them offsets in the text
                part = part.with_values(part.values + tf.gather(begins.values, rows_of(part)))
            parts.append(part)
        return [segments.with_values(part).merge_dims(1, 2) for part in parts]

    def _touches_word(self, segments: tf.RaggedTensor) -> tf.Tensor:
        """Whether a word character touches a segment on either side, bool [all segments]."""
        row = rows_of(segments)
        is_same_row = tf.equal(row[1:], row[:-1])  # whether a segment and the next one are of the same text
        behind = self._matches(segments.values, r"{}\C*")[1:] & is_same_row
        before = self._matches(segments.values, r"\C*{}")[:-1] & is_same_row
        one = tf.zeros([tf.minimum(tf.size(row), 1)], tf.bool)
        return tf.concat([behind, one], axis=0) | tf.concat([one, before], axis=0)

    def _matches(self, texts: tf.Tensor, form: str) -> tf.Tensor:
        found = tf.strings.regex_full_match(texts, form.format(self._word))
        if self._not_word is not None:
            found &= ~tf.strings.regex_full_match(texts, form.format(self._not_word))
        return found


def literals_of(
    vocabulary: Vocabulary, normalizer: Normalizer, *, with_special_tokens: bool, not_word: str
) -> tuple[Literals | None, Literals | None]:
    """The literals to find in texts before normalization, and those to find after it; None instead of no literals.

    Args:
      vocabulary: with added tokens.
      normalizer: of the texts.
      with_special_tokens: whether special tokens such as [MASK] are literals too.
      not_word: see Literals; used for normalized texts.

    Raises:
      InputError: normalization removes an added token completely, changes white space at its ends, or makes it equal
        to another one.
    """
    added = [token for token in vocabulary.added if token.content not in SPECIAL_TOKENS]
    raw = {token: vocabulary[token] for token in SPECIAL_TOKENS if with_special_tokens}
    raw |= {token.content: vocabulary[token.content] for token in added if not token.normalized}
    single = {token.content for token in added if token.single_word}
    normalized: dict[str, AddedToken] = {}
    if some := [token for token in added if token.normalized]:
        with tf.init_scope():
            contents = tf.constant([token.content for token in some])
            found = normalizer.normalize(contents, normalizer.find_rare(contents)).numpy()
        for token, content in zip(some, (content.decode() for content in found), strict=True):
            rule = f"{vocabulary.source}: expected added tokens that normalization keeps"
            require(bool(content.strip()) and content == content.strip(), rule, repr(token.content))
            # It is undefined which of two equal ones Hugging Face's tokenizers matches.
            rule = f"{vocabulary.source}: expected added tokens that differ once they are normalized"
            other = normalized.setdefault(content, token)
            require(other is token, rule, f"{other.content!r} and {token.content!r}")
    ids = {content: vocabulary[token.content] for content, token in normalized.items()}
    source = vocabulary.source
    in_normalized: dict[str, Any] = {
        "single_words": {content for content, token in normalized.items() if token.single_word},
        "also_word": STAND_INS if normalizer.config.rules == HUGGINGFACE else "",
        "not_word": not_word,
        "space": _SPACES,
        "source": source,
    }
    return (
        Literals(raw, single_words=single, source=source) if raw else None,
        Literals(ids, **in_normalized) if ids else None,
    )


def _joined(
    segments: tf.RaggedTensor, begins: tf.RaggedTensor, ids: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Joins adjacent segments that are not literals: ragged [n, segments] -> ragged [n, fewer segments]."""
    row, is_plain = rows_of(segments), ids < 0
    one = tf.ones([tf.minimum(tf.size(row), 1)], tf.bool)
    is_first = tf.concat([one, (row[1:] != row[:-1]) | ~(is_plain[1:] & is_plain[:-1])], axis=0)
    number = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
    count = tf.reduce_sum(tf.cast(is_first, tf.int32))
    texts = tf.strings.unsorted_segment_join(segments.values, number, count)
    lengths = tf.math.unsorted_segment_sum(tf.cast(is_first, tf.int64), row, segments.nrows())
    parts = (texts, tf.boolean_mask(begins.values, is_first), tf.boolean_mask(ids, is_first))
    whole, starts, kinds = (tf.RaggedTensor.from_row_lengths(part, lengths, validate=False) for part in parts)
    return whole, starts, kinds


def _quoted(literal: str, space: str) -> str:
    """A literal as a regular expression."""
    return "".join(space if c == " " else c if c.isalnum() and ord(c) < 128 else rf"\x{{{ord(c):X}}}" for c in literal)
