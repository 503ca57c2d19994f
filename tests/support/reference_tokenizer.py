"""BERT's tokenizer written from its rules in plain Python, sharing no code with bert_tf.text.wordpiece.

Unicode properties are those of this Python's unicodedata.
"""

import dataclasses
import unicodedata

_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Settings as in bert_tf.text.wordpiece.Tokenizer."""

    lower_case: bool
    strip_accents: bool | None = None
    max_word_length: int = 100
    split_cjk: bool = True
    huggingface: bool = False

    def words(self, text: str) -> list[str]:
        """The words that WordPiece sees."""
        kept = []
        for c in text:
            category = unicodedata.category(c)
            if c in "\t\n\r" or category == "Zs":
                kept.append(" ")
            elif ord(c) == 0xFFFD or category in ("Cc", "Cf") or self.huggingface and category == "Co":
                continue
            elif self.split_cjk and self._is_cjk(c):
                kept.append(f" {c} ")
            else:
                kept.append(c)
        found = []
        for word in "".join(kept).split():
            if self.lower_case:
                word = "".join(c.lower() for c in word) if self.huggingface else word.lower()
            if self.lower_case if self.strip_accents is None else self.strip_accents:
                word = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
            found += _split_punctuation(word)
        return found

    def tokenize(self, text: str, ids: dict[str, int]) -> list[int]:
        """Ids of a text without special tokens."""
        return [piece for word in self.words(text) for piece in self._word_piece(word, ids)]

    def _is_cjk(self, c: str) -> bool:
        if self.huggingface and 0x2B820 <= ord(c) <= 0x2B91F:
            return False
        return any(low <= ord(c) <= high for low, high in _CJK)

    def _word_piece(self, word: str, ids: dict[str, int]) -> list[int]:
        if len(word) > self.max_word_length:
            return [ids["[UNK]"]]
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in ids:
                    pieces.append(ids[piece])
                    start = end
                    break
            else:
                return [ids["[UNK]"]]
        return pieces


def _split_punctuation(word: str) -> list[str]:
    parts, current = [], ""
    for c in word:
        code = ord(c)
        ascii_punctuation = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        if ascii_punctuation or unicodedata.category(c).startswith("P"):
            parts += [current, c]
            current = ""
        else:
            current += c
    return [part for part in [*parts, current] if part]
