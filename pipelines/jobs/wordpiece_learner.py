"""Word counts -> a WordPiece vocabulary."""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from bert_tf.core.errors import InputError, require
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.jobs.vocabulary_report import VocabularyReport
from pipelines.jobs.word_counts import WordCounts

_CODE_POINTS = 0x110000
_CONTINUATION = 0xF0000  # first code point of plane 15, which is private use
_USUAL_CHARACTERS = 1000  # kept whatever the coverage, as far as they take a tenth of the vocabulary
_FEW_CHARACTERS = 40  # the same, however small the vocabulary
_MAX_TRAINING_WORDS = 50_000_000  # above it counts are scaled down; the learner reads words, not counts
_REPEATS_AT_ONCE = 1000  # of a word in the learner's text
_CHARACTERS_AT_ONCE = 1 << 16
_LARGEST_COUNT = 4096  # larger counts are treated as equal
_MAX_PIECE = 64  # characters; the tokenizer's kernel takes tokens of 256 bytes
_LARGEST_UNUSED_SHARE = 0.9  # of the vocabulary, before the text is called too little


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """What to learn.

    Attributes:
      vocab_size: number of tokens, special tokens included.
      unused_slots: number of tokens [unused0], [unused1], ... after the special tokens.
      character_coverage: least share of the text's characters that the vocabulary has, if half of its tokens can hold
        them; as in SentencePiece (Kudo and Richardson 2018).
      max_characters: most characters; None = as the coverage needs.
      max_words: most different words to learn from, the most frequent ones; bounds the learner's memory.
      min_frequency: a pair of pieces that comes less often is not merged.
      split_cjk: ideographs are words of their own, so none of them continues a word.
    """

    vocab_size: int
    unused_slots: int = 0
    character_coverage: float = 0.9995
    max_characters: int | None = None
    max_words: int = 2_000_000
    min_frequency: int = 2
    split_cjk: bool = True

    def __post_init__(self):
        coverage, characters = self.character_coverage, self.max_characters
        require(0 < coverage <= 1, "--character_coverage must lie in (0, 1]", coverage)
        require(characters is None or characters >= 1, "--max_characters must be at least 1", characters)
        require(self.max_words >= 1000, "--max_words must be at least 1000", self.max_words)


class _Totals:
    """Of all words: how often each character comes, and how many words come how often."""

    def __init__(self, blocks: Iterable[WordCounts]):
        self.characters = np.zeros(_CODE_POINTS, np.int64)
        self.words_by_count = np.zeros(_LARGEST_COUNT + 1, np.int64)
        self.words = self.occurrences = 0
        for block in blocks:
            codes, word, _ = block.characters()
            # Counts below 2^53 are exact in float64.
            self.characters += np.bincount(codes, block.counts[word], _CODE_POINTS).astype(np.int64)
            self.words_by_count += np.bincount(np.minimum(block.counts, _LARGEST_COUNT), minlength=_LARGEST_COUNT + 1)
            self.words += len(block.counts)
            self.occurrences += int(block.counts.sum())


class Alphabet:
    """The characters of a vocabulary: the most frequent ones.

    Attributes:
      kept: sorted.
      begins, continues: bool by code point: whether the character has a token, and one with "##".
    """

    def __init__(self, frequencies: np.ndarray, slots: int, config: LearnerConfig, *, more: int = 0):
        """Chooses characters.

        Args:
          frequencies: int64 by code point.
          slots: tokens that are neither special nor unused.
          config: the coverage and limits.
          more: number of tokens for characters beyond those that the config asks for.
        """
        # Private-use characters of planes 15 and 16 stand for "##" characters in the learner.
        codes = np.flatnonzero(frequencies[:_CONTINUATION])
        codes = codes[np.lexsort((codes, -frequencies[codes]))]
        alone = _is_ideograph(codes) & config.split_cjk
        taken = np.cumsum(np.where(alone, 1, 2))
        covered = np.cumsum(frequencies[codes])
        usual = min(_USUAL_CHARACTERS, max(_FEW_CHARACTERS, (config.vocab_size - config.unused_slots) // 10))
        usual = min(usual, int((taken <= slots).sum()))
        needed = 1 + int((covered < config.character_coverage * int(frequencies.sum())).sum())
        count = max(usual, min(needed, int((taken <= slots // 2).sum())))
        if more:
            count = int((taken <= taken[:count].max(initial=0) + more).sum())
        count = min(count, len(codes), config.max_characters or len(codes))
        self.kept = sorted(map(chr, codes[:count].tolist()))
        self.begins, self.continues = np.zeros((2, _CODE_POINTS), bool)
        self.begins[codes[:count]] = True
        self.continues[codes[:count][~alone[:count]]] = True

    def holds(self, block: WordCounts) -> np.ndarray:
        """Which words have no other characters: bool [words]. All others are [UNK] to the tokenizer."""
        codes, word, begins = block.characters()
        is_missing = ~np.where(begins, self.begins[codes], self.continues[codes])
        return np.bincount(word[is_missing], minlength=len(block.counts)) == 0


def _is_ideograph(codes: np.ndarray) -> np.ndarray:
    from bert_tf.text.words import CJK_RANGES  # loads TensorFlow

    return np.logical_or.reduce([(first <= codes) & (codes <= last) for first, last in CJK_RANGES])


class _Frequent:
    """The `max_words` most frequent words; of equally rare ones those with the smallest hashes, about."""

    def __init__(self, words_by_count: np.ndarray, max_words: int):
        at_least = words_by_count[::-1].cumsum()[::-1]  # words that come so often or more
        self.least = 1 + int((at_least[1:] > max_words).sum())
        rarer = int(words_by_count[self.least - 1])
        room = max_words - int(at_least[self.least]) if self.least <= _LARGEST_COUNT else max_words
        self._cut = (room << 32) // rarer if rarer else 0

    def holds(self, block: WordCounts) -> np.ndarray:
        """bool [words]."""
        found = np.minimum(block.counts, _LARGEST_COUNT) >= self.least
        if self.least > 1:
            words = block.words()
            for index in np.flatnonzero(np.minimum(block.counts, _LARGEST_COUNT) == self.least - 1).tolist():
                found[index] = zlib.crc32(words[index]) < self._cut
        return found


def learn_vocabulary(blocks: Iterable[WordCounts], config: LearnerConfig) -> tuple[Vocabulary, VocabularyReport]:
    """Learns exactly `vocab_size` tokens: specials, unused slots, characters in both forms, then merged pieces.

    If the words hold fewer pieces, characters that the config leaves out take their place, then tokens [unusedN].

    Args:
      blocks: different words; iterated several times, the order does not matter.
      config: what to learn.

    Raises:
      InputError: there is no word, or nine tenths of the vocabulary would be unused.
    """
    totals = _Totals(blocks)
    if not totals.words:
        raise InputError("--input: expected text. Received files without a single word within --max_word_length.")
    frequent = _Frequent(totals.words_by_count, config.max_words)
    reserved = (*SPECIAL_TOKENS, *(f"[unused{index}]" for index in range(config.unused_slots)))
    slots = config.vocab_size - len(reserved)
    alphabet = Alphabet(totals.characters, slots, config)
    pieces, counts = _learn(blocks, alphabet, frequent, slots, config.min_frequency)
    if len(pieces) < slots:
        larger = Alphabet(totals.characters, slots, config, more=slots - len(pieces))
        if larger.kept != alphabet.kept:
            alphabet = larger
            pieces, counts = _learn(blocks, alphabet, frequent, slots, config.min_frequency)
    found = len(reserved) + len(pieces)
    if found < (1 - _LARGEST_UNUSED_SHARE) * config.vocab_size:
        raise InputError(
            f"--vocab_size {config.vocab_size}: expected text for at least a tenth of the tokens. Received "
            f"{totals.words} different words, which give {found}. Give more text, or --vocab_size {found} for all of "
            "them."
        )
    names = itertools.count(config.unused_slots)
    filled = [f"[unused{next(names)}]" for _ in range(slots - len(pieces))]
    report = VocabularyReport(
        **counts,
        words=totals.occurrences,
        different_words=totals.words,
        characters=int(totals.characters.sum()),
        different_characters=int((totals.characters > 0).sum()),
        characters_kept=len(alphabet.kept),
        characters_covered=int(totals.characters[alphabet.begins].sum()),
        tokens=config.vocab_size,
        tokens_reserved=len(reserved),
        tokens_of_characters=int(alphabet.begins.sum() + alphabet.continues.sum()),
        tokens_filled=len(filled),
    )
    return Vocabulary((*reserved, *pieces, *filled)), report


def _learn(
    blocks: Iterable[WordCounts], alphabet: Alphabet, frequent: _Frequent, slots: int, min_frequency: int
) -> tuple[list[str], dict[str, int]]:
    """At most `slots` pieces in their order, and counts for the report.

    The learner is byte-pair merging from Hugging Face `tokenizers`, in Rust. Its WordPiece trainer gives other tokens
    on every run, since "##x" characters get their ids in the order of a randomized hash map and ties between pairs are
    broken by id. So a character inside a word is written as its own private-use code point, which makes plain
    byte-pair training, whose alphabet is sorted, learn the same thing every time.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    inside = [c for c in alphabet.kept if alphabet.continues[ord(c)]]
    inner = {character: chr(_CONTINUATION + index) for index, character in enumerate(inside)}
    outer = {coded: character for character, coded in inner.items()}
    counts = {"words_learned": 0, "words_unknown": 0, "characters_unknown": 0}
    occurrences = 0
    for block in blocks:
        held = alphabet.holds(block)
        kept = held & frequent.holds(block)
        counts["words_unknown"] += int(block.counts[~held].sum())
        counts["characters_unknown"] += int((block.counts * block.lengths())[~held].sum())
        counts["words_learned"] += int(kept.sum())
        occurrences += int(block.counts[kept].sum())
    scale = max(1, occurrences // _MAX_TRAINING_WORDS)

    def training_text() -> Iterator[str]:
        for block in blocks:
            kept = alphabet.holds(block) & frequent.holds(block)
            words = itertools.compress(block.words(), kept.tolist())
            repeats = np.maximum(1, block.counts[kept] // scale)
            yield from _repeated(words, repeats.tolist(), str.maketrans(inner))

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=slots,
        min_frequency=min_frequency,
        initial_alphabet=[*alphabet.kept, *outer],
        max_token_length=_MAX_PIECE,
        show_progress=False,
    )
    learner.train_from_iterator(training_text(), trainer)
    pieces = learner.get_vocab()
    decoded = []
    for piece in sorted(pieces, key=pieces.__getitem__):
        prefix = "##" if piece[0] in outer else ""
        decoded.append(prefix + "".join(outer.get(c, c) for c in piece))
    return decoded, counts


def _repeated(words: Iterable[bytes], repeats: Iterable[int], inner: dict[int, str]) -> Iterator[str]:
    """Each word so often, with `inner` characters but for its first one, in texts of limited length."""
    parts, size = [], 0
    for word, count in zip(words, repeats, strict=True):
        text = word.decode("utf-8")
        coded = f"{text[0]}{text[1:].translate(inner)} "
        for start in range(0, count, _REPEATS_AT_ONCE):
            parts.append(coded * min(_REPEATS_AT_ONCE, count - start))
            size += len(parts[-1])
            if size > _CHARACTERS_AT_ONCE:
                yield "".join(parts)
                parts, size = [], 0
    yield "".join(parts)
