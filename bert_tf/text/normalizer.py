"""What BERT does to a text before it splits words, with the way back into the source.

The rules are those of google-research/bert's tokenization.py (Devlin et al. 2018). Nearly all of them look at one code
point at a time, so `_by_rules`, written in stock TensorFlow ops, is run once over every code point, and its results
become the table of TF Text's FastBertNormalize kernel, in place of the one that TF Text brings (which also applies
compatibility mappings and keeps control characters as spaces). Two rules look further than one code point, and one
expects text; texts that hold what they are about are few, and are prepared before the table is applied:

* "Σ" at the end of a word becomes "ς".
* Unicode orders combining marks when it decomposes. The marks that strip_accents removes don't care, a few others stay.
* Bytes that are no UTF-8 are dropped, as `bytes.decode(errors="ignore")` drops them.
"""

import dataclasses
import functools

import flatbuffers
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.core.errors import InputError
from bert_tf.text import double_array
from bert_tf.text.segments import rows_of

GOOGLE, HUGGINGFACE = RULES = ("google", "huggingface")

_SPACE = r"[\p{Zs}\t\n\r]"
_DROPPED = r"[\p{Cc}\p{Cf}\x{FFFD}]"
_PRIVATE_USE = ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))
# Hugging Face's ideographs begin at U+2B920 where they mean U+2B820, and these 256 do not stand alone. The kernel that
# splits words knows Google's ranges only, so they travel as private-use characters, which these rules drop from text.
_UNSPLIT_CJK = (0x2B820, 0x2B91F)
_UNSPLIT_CJK_STAND_IN = 0x10F800
STAND_INS = r"\x{10F800}-\x{10F8FF}"

# Unicode's Final_Sigma (SpecialCasing.txt): a cased letter before, none after, case-ignorable characters skipped.
# Cased letters that are also case-ignorable count as ignorable.
_IGNORABLE = (
    r"\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}'.:\x{B7}\x{387}\x{55F}\x{5F4}\x{2018}\x{2019}\x{2024}\x{2027}"
    r"\x{FE13}\x{FE52}\x{FE55}\x{FF07}\x{FF0E}\x{FF1A}"
)
_CASED = (
    r"\p{Lu}\p{Ll}\p{Lt}\x{AA}\x{BA}\x{2160}-\x{217F}\x{24B6}-\x{24E9}"
    r"\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189}"
)
_FINAL_SIGMA = rf"([{_CASED}][{_IGNORABLE}]*)Σ([{_IGNORABLE}]*(?:[^{_IGNORABLE}{_CASED}]|\z))"

# Characters that are, or decompose into, a combining mark which is not removed but has an order, in Unicode 14 to 16.
_KEPT_MARKS = (
    r"\x{897}\x{1715}\x{1734}\x{1B44}\x{1BAA}\x{1BF2}\x{1BF3}\x{302E}\x{302F}\x{A953}\x{A9C0}\x{10D69}-\x{10D6D}"
    r"\x{111C0}\x{11235}\x{1134D}\x{113CE}-\x{113D0}\x{116B6}\x{1193D}\x{11F41}\x{1612F}\x{16FF0}\x{16FF1}"
    r"\x{1D15E}-\x{1D166}\x{1D16D}-\x{1D172}\x{1D1BB}-\x{1D1C0}\x{1E5EE}\x{1E5EF}"
)
_NO_CHARACTER = r"\x{D800}-\x{DFFF}"  # surrogates; naming them makes RE2 exact about what UTF-8 is


@dataclasses.dataclass(frozen=True)
class NormalizerConfig:
    """What is normalized; see bert_tf.text.wordpiece.Tokenizer."""

    lower_case: bool
    strip_accents: bool
    rules: str = GOOGLE

    def __post_init__(self):
        if self.rules not in RULES:
            raise InputError(f"rules: expected one of {', '.join(RULES)}. Received: {self.rules!r}.")


class Normalizer(tf.Module):
    """Normalizes texts, with a map back to the source.

    Attributes:
      config: as given.
      rare: what a text must hold to need preparation, as inside the brackets of a regular expression's negated class.
      expansion: the most characters that one character becomes.
    """

    def __init__(self, config: NormalizerConfig):
        super().__init__(name="normalizer")
        self.config = config
        self._decomposes = config.strip_accents
        self._final_sigma = config.lower_case and config.rules == GOOGLE
        self.rare = _NO_CHARACTER + "Σ" * self._final_sigma + _KEPT_MARKS * config.strip_accents
        model, self.expansion = _compiled_table(config)
        self._table = tf_text.FastBertNormalizer(model_buffer=tf.constant(model))
        # Drops and separates only; what is dropped must be gone before the neighbours of a character are looked at.
        cleaning, _ = _compiled_table(dataclasses.replace(config, lower_case=False, strip_accents=False), final=False)
        self._cleaning = tf_text.FastBertNormalizer(model_buffer=tf.constant(cleaning))

    def find_rare(self, texts: tf.Tensor) -> tf.Tensor:
        """Which texts may need preparation: string [n] -> int64 [k]."""
        return tf.where(~tf.strings.regex_full_match(texts, f"[^{self.rare}]*"))[:, 0]

    def normalize(self, texts: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Normalizes texts.

        Args:
          texts: string [n].
          rows: which texts to prepare, int64 [k]: all that `find_rare` finds, and others if one likes.

        Returns:
          string [n], valid UTF-8.
        """
        return self._table.normalize(self._prepared(texts, rows))

    def source_offsets(self, texts: tf.Tensor, rows: tf.Tensor) -> tf.RaggedTensor:
        """For each byte of a normalized text, and its end, the offset of the character that it came from.

        Args:
          texts, rows: as for `normalize`.

        Returns:
          int64 [n, bytes + 1].
        """
        _, offsets = self._table.normalize_with_offsets(self._prepared(texts, rows))
        flat = tf.cond(
            tf.size(rows) > 0, lambda: self._before_preparation(texts, rows, offsets), lambda: offsets.values
        )
        return offsets.with_values(flat)

    def _prepared(self, texts: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        def prepare() -> tf.Tensor:
            some = self._cleaning.normalize(tf.gather(texts, rows))
            if self._final_sigma:
                some = tf.strings.regex_replace(some, _FINAL_SIGMA, r"\1ς\2")  # as many bytes as before
            if self._decomposes:
                some = tf_text.normalize_utf8(some, "NFD")
            return tf.tensor_scatter_nd_update(texts, rows[:, None], some)

        return tf.cond(tf.size(rows) > 0, prepare, lambda: texts)

    def _before_preparation(self, texts: tf.Tensor, rows: tf.Tensor, offsets: tf.RaggedTensor) -> tf.Tensor:
        """Offsets int64 [n, k], of which those of the given rows lead into prepared texts -> flat, into `texts`."""
        places = tf.gather(offsets.with_values(tf.range(tf.size(offsets.values, out_type=tf.int64))), rows)
        row = rows_of(places)
        found = tf.gather(offsets, rows).values
        cleaned, sources = self._cleaning.normalize_with_offsets(tf.gather(texts, rows))
        if self._decomposes:
            before = _before_decomposition(cleaned)
            found = tf.gather(before.values, tf.gather(before.row_starts(), row) + found)
        found = tf.gather(sources.values, tf.gather(sources.row_starts(), row) + found)
        return tf.tensor_scatter_nd_update(offsets.values, places.values[:, None], found)


def _before_decomposition(texts: tf.Tensor) -> tf.RaggedTensor:
    """For each byte of a decomposed text, and its end, where the characters began that it came from; [n, bytes + 1]."""
    decomposed, offsets_map = tf_text.normalize_utf8_with_offsets_map(texts, "NFD")
    places = tf.ragged.range(tf.cast(tf.strings.length(decomposed), tf.int64) + 1)
    offsets = tf_text.find_source_offsets(offsets_map, places)
    # Say that bytes 1 to 8 became other bytes 1 to 8: the offsets found are 0, 1, 9, 9, ..., 9, 9 (byte 9, behind the
    # change), 10. All 9 but the last should be 1: those that are followed by another 9.
    step = tf.reduce_max(offsets.values) + 1
    rising = offsets.values + rows_of(offsets) * step
    is_new = tf.concat([[True], rising[1:] != rising[:-1]], axis=0)
    is_within = tf.concat([~is_new[1:], [False]], axis=0)
    news = tf.where(is_new)[:, 0]
    beginning = tf.gather(news, tf.cumsum(tf.cast(is_new, tf.int64)) - 1) - 1
    beginning = tf.gather(offsets.values, tf.maximum(beginning, 0))
    return offsets.with_values(tf.where(is_within, beginning, offsets.values))


def as_normalized(token: str, rules: str) -> str:
    """A token of the vocabulary as it stands in normalized text."""
    if rules == GOOGLE:
        return token
    low, high = _UNSPLIT_CJK
    return "".join(chr(ord(c) - low + _UNSPLIT_CJK_STAND_IN) if low <= ord(c) <= high else c for c in token)


def _by_rules(characters: tf.Tensor, config: NormalizerConfig) -> tf.Tensor:
    """The rules for single code points: string [n] -> string [n]."""
    texts = tf.strings.regex_replace(characters, _SPACE, " ")
    texts = tf.strings.regex_replace(texts, _DROPPED, "")
    if config.lower_case:
        texts = tf.strings.lower(texts, encoding="utf-8")
    if config.strip_accents:
        texts = tf_text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
    return texts


def _assigned_code_points() -> list[int]:
    """Everything that a rule changes lies here: planes 0 to 3, and the tags and selectors of plane 14."""
    return [c for c in [*range(0x1, 0x40000), *range(0xE0000, 0xE1000)] if not 0xD800 <= c <= 0xDFFF]


@functools.cache
def _compiled_table(config: NormalizerConfig, *, final: bool = True) -> tuple[np.ndarray, int]:
    """The buffer of TF Text's FastBertNormalizerModel, uint8, and the most characters that one character becomes.

    Characters get their stand-ins in the final table only, which would drop them in a second pass.
    """
    with tf.init_scope():
        characters = [chr(c).encode() for c in _assigned_code_points()]
        results = _by_rules(tf.constant(characters), config).numpy().tolist()
    mapped = {c: result for c, result in zip(characters, results, strict=True) if c != result}
    if config.rules == HUGGINGFACE:
        mapped |= {chr(c).encode(): b"" for low, high in _PRIVATE_USE for c in range(low, high + 1)}
        for c in range(_UNSPLIT_CJK[0], _UNSPLIT_CJK[1] + 1) if final else ():
            mapped[chr(c).encode()] = as_normalized(chr(c), config.rules).encode()
    expansion = max(len(result.decode()) for result in mapped.values())
    mapped |= dict.fromkeys(_broken_characters(), b"")

    pool = bytearray()
    places: dict[bytes, int] = {}
    entries = {}
    for key, result in mapped.items():
        if result and result not in places:
            places[result] = len(pool)
            pool += result
        # Bit 30 says that there is a result, then follow 24 bits of its place in the pool and 6 of its length.
        entries[key] = 1 << 30 | places.get(result, 0) << 6 | len(result)
    return _serialize(double_array.build(entries), bytes(pool)), expansion


def _broken_characters() -> list[bytes]:
    """Every sequence of bytes that the kernel takes for one broken character: bytes that begin none, or too few."""
    broken = [bytes([first]) for first in range(0x80, 0x100)]
    for first, low, high in (
        *((0xE0, 0xA0, 0xBF), (0xED, 0x80, 0x9F), (0xF0, 0x90, 0xBF), (0xF4, 0x80, 0x8F)),
        *((first, 0x80, 0xBF) for first in (*range(0xE1, 0xED), 0xEE, 0xEF, 0xF1, 0xF2, 0xF3)),
    ):
        for second in range(low, high + 1):
            broken.append(bytes([first, second]))
            if first >= 0xF0:
                broken += [bytes([first, second, third]) for third in range(0x80, 0xC0)]
    return broken


def _serialize(trie: np.ndarray, pool: bytes) -> np.ndarray:
    """FastBertNormalizerModel: fields 1 trie_array, 2 data_for_codepoint_zero, 3 normalized_string_pool."""
    builder = flatbuffers.Builder(trie.nbytes + len(pool) + 64)
    pool_offset = builder.CreateNumpyVector(np.frombuffer(pool, np.uint8))
    trie_offset = builder.CreateNumpyVector(trie)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, trie_offset, 0)
    builder.PrependInt32Slot(2, 1 << 30, 0)  # U+0000 is dropped; a trie has no empty key
    builder.PrependUOffsetTRelativeSlot(3, pool_offset, 0)
    builder.Finish(builder.EndObject())
    return np.frombuffer(bytes(builder.Output()), np.uint8)
