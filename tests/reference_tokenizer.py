"""BERT's tokenizer written from its rules in plain Python, sharing no code with bert_tf.tokenizer."""

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


def tokenize(text: str, ids: dict[str, int], *, lower_case: bool, max_word_bytes: int = 100) -> list[int]:
    """Ids of a text without special tokens. A word of more than max_word_bytes UTF-8 bytes is one [UNK]."""
    kept = []
    for c in text:
        if c in "\t\n\r" or unicodedata.category(c) == "Zs":
            kept.append(" ")
        elif ord(c) == 0xFFFD or unicodedata.category(c) in ("Cc", "Cf"):
            continue
        elif any(low <= ord(c) <= high for low, high in _CJK):
            kept.append(f" {c} ")
        else:
            kept.append(c)
    found = []
    for word in "".join(kept).split():
        if lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        for part in _split_punctuation(word):
            found += _word_piece(part, ids, max_word_bytes)
    return found


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


def _word_piece(word: str, ids: dict[str, int], max_word_bytes: int) -> list[int]:
    if len(word.encode()) > max_word_bytes:
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
