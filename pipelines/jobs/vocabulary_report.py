"""What a vocabulary makes of the text that it was learned from, as the job prints it."""

import dataclasses

_MOST_UNKNOWN = 0.005  # of all words, or of all characters, before a warning


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyReport:
    """Counts of words and characters are of all their occurrences, unless they are called different.

    Attributes:
      words, characters: counted, without too long words.
      words_learned: different words that the pieces were learned from.
      characters_kept: different characters of the vocabulary; `characters_covered` counts their occurrences.
      words_unknown: with another character, so that [UNK] replaces them; `characters_unknown` counts their characters.
      words_too_long: words of more than --max_word_length characters, which [UNK] replaces too.
      tokens_reserved: special tokens and --unused_slots; `tokens_filled` those for which the text had no piece.
    """

    words: int
    different_words: int
    words_learned: int
    words_unknown: int
    words_too_long: int = 0
    characters: int
    different_characters: int
    characters_kept: int
    characters_covered: int
    characters_unknown: int
    characters_too_long: int = 0
    tokens: int
    tokens_reserved: int
    tokens_of_characters: int
    tokens_filled: int

    @property
    def coverage(self) -> float:
        return self.characters_covered / max(1, self.characters)

    @property
    def unknown(self) -> tuple[float, float]:
        """The share of the words that [UNK] replaces, and of the characters in them."""
        words, characters = self.words + self.words_too_long, self.characters + self.characters_too_long
        return (
            (self.words_unknown + self.words_too_long) / max(1, words),
            (self.characters_unknown + self.characters_too_long) / max(1, characters),
        )

    def summary(self) -> str:
        """A table of the text and the vocabulary."""
        pieces = self.tokens - self.tokens_reserved - self.tokens_of_characters - self.tokens_filled
        unused = f", {self.tokens_filled:,} unused" if self.tokens_filled else ""
        rows = [
            ("words", f"{self.words + self.words_too_long:,}, {self.different_words:,} different"),
            ("  learned from", f"{self.words_learned:,} different"),
            ("  too long", f"{self.words_too_long:,}"),
            ("characters", f"{self.characters_kept:,} of {self.different_characters:,} different"),
            ("  coverage", f"{self.coverage:.3%}"),
            ("[UNK]", "{:.3%} of the words, {:.3%} of the characters".format(*self.unknown)),
            ("tokens", f"{self.tokens:,}"),
            ("  reserved", f"{self.tokens_reserved:,}"),
            ("  characters", f"{self.tokens_of_characters:,}"),
            ("  longer pieces", f"{pieces:,}{unused}"),
        ]
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in rows)

    def warnings(self, *, character_coverage: float, max_characters: int | None, max_word_length: int) -> list[str]:
        """Sentences about what is lost and what to do; the arguments are the job's flags."""
        found = []
        if max(self.unknown) > _MOST_UNKNOWN:
            words, characters = self.unknown
            causes = []
            if self.words_unknown:
                if max_characters is not None and self.characters_kept >= max_characters:
                    remedy = f"raise --max_characters {max_characters}"
                elif self.coverage >= character_coverage:
                    remedy = f"raise --character_coverage {character_coverage}"
                else:
                    remedy = f"raise --vocab_size {self.tokens}"
                causes.append(
                    f"{self.different_characters - self.characters_kept:,} rare characters are not in the vocabulary, "
                    f"which covers {self.coverage:.2%} of the text's characters: {remedy}"
                )
            if self.words_too_long:
                causes.append(
                    f"{self.words_too_long:,} words are longer than {max_word_length} characters: raise "
                    "--max_word_length, or put spaces between words"
                )
            found.append(
                f"WARNING: [UNK] replaces {words:.2%} of the words of this text ({characters:.2%} of its characters). "
                f"{'; '.join(causes)}."
            )
        if self.tokens_filled:
            have = self.tokens - self.tokens_filled
            found.append(
                f"WARNING: the text gives {have:,} tokens; {self.tokens_filled:,} tokens [unusedN] fill --vocab_size "
                f"{self.tokens}. Give more text, or --vocab_size {have}."
            )
        return found
