"""Compares the tokenizer with the reference on many texts; shared by the quick tests and the full sweep."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer
from tests.support import reference_tokenizer

_CHUNK = 16_384
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
# Languages and signs whose words have many forms: letters, digits, marks, spaces, controls, emoji, CJK of every range.
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    ".,;:!?'\"()[]{}<>-_/\\|@#$%^&*+=~`",
    "àáâäåçèéêñöøüßÀÁÂÄÅÇÈÉÊÑÖØÜẞſıİ",
    "αβγδσςΑΒΓΔΣΣΣάέήίόύώΆΈΐΰᾳᾴῼ",
    "абвгдеёжзийАБВГДЕЁЖЗИЙ",
    "אבגדהוזשׁשׂ بتثجحخدذرَُِّٰ",
    "कखगघङऽािीुूृे्ंः กขฃคฅฆงจฉิีึืุู้",
    "가각간갇갈감갑한글각",
    "あいうえおがぎぐアイウエオガギグー",
    "".join(map(chr, (0x3400, 0x4DBF, 0x4E00, 0x4E2D, 0x6587, 0x9FFF, 0xF900, 0xFA0E, 0xFAFF))),
    "".join(map(chr, (0x20000, 0x2A6DF, 0x2A700, 0x2B73F, 0x2B740, 0x2B820, 0x2B920, 0x2CEAF, 0x2F800, 0x2FA1F))),
    " \t\n\r\u00a0\u1680\u2003\u2028\u2029\u202f\u3000",
    "\x00\x01\x0b\x0c\x1c\x1f\x7f\x85\u00ad\u200b\u200d\u200e\u2060\ufeff\ufffd\U000e0001",
    "\u0300\u0301\u0308\u0327\u0345\u05b0\u064b\u0e49\u20dd\u302a\u3099\ufe0f\U0001e8d0",
    "\u1734\u302e\u302f\u1b44\U00016ff0\U0001d15e\U0001d165\U0001d16d\U0001d172\U0001d1bc",
    "😀👍🏽👩\u200d💻🇩🇪❤\ufe0f☃№…—‘’“”«»¿¡§†‡•½²ﬁ™€",
    "\ue000\uf8ff\U000f0000\U0010fffd\ufdd0\uffff",
)


def differing(texts: Sequence[str], settings: dict, *, extra_tokens: Iterable[str] = ()) -> list[str]:
    """The texts of which the tokenizer and the reference make different ids.

    The vocabulary holds every character of every word as a token of both forms, so ids tell words apart.
    """
    rules = {"huggingface": True} if settings.get("rules") == "huggingface" else {}
    reference = reference_tokenizer.Reference(**{k: v for k, v in settings.items() if k != "rules"}, **rules)
    found = []
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        characters = dict.fromkeys(c for text in chunk for word in reference.words(text) for c in word)
        characters |= dict.fromkeys(c for text in chunk for c in text)
        tokens = dict.fromkeys([*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters), *extra_tokens])
        tokenizer = Tokenizer(list(tokens), **settings)
        ids = tokenizer.tokenize([text.encode() for text in chunk]).to_list()
        for text, received in zip(chunk, ids, strict=True):
            if received != reference.tokenize(text, tokenizer.vocabulary.ids):
                found.append(text)
    return found


def differing_code_points(code_points: Sequence[int], settings: dict) -> set[int]:
    """The code points that alone, or between "a" and "b", give different ids."""
    texts = [text for c in code_points for text in (chr(c), f"a{chr(c)}b")]
    return {ord(text[len(text) // 2]) for text in differing(texts, settings)}


def random_texts(rng, count: int) -> list[str]:
    """Strings that mix scripts, spaces, controls, emoji, marks, CJK, and sometimes any code point at all."""
    texts = []
    for _ in range(count):
        alphabets = rng.sample(ALPHABETS, rng.randint(1, 4))
        length = rng.choice((1, 3, 10, 40, 120))
        characters = [
            chr(rng.choice(CODE_POINTS)) if rng.random() < 0.02 else rng.choice(rng.choice(alphabets))
            for _ in range(rng.randint(1, length))
        ]
        texts.append("".join(characters))
    return texts


def misplaced_words(texts: Sequence[str], tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """(text, slice) of words whose slice of the source is not the word, as the reference reads it."""
    reference = reference_tokenizer.Reference(
        tokenizer.lower_case,
        tokenizer.strip_accents,
        tokenizer.max_word_length,
        tokenizer.split_cjk,
        huggingface=tokenizer.rules == "huggingface",
    )
    encoded = [text.encode() for text in texts]
    ids, starts, ends = (part.to_list() for part in tokenizer.tokenize_with_offsets(encoded))
    assert ids == tokenizer.tokenize(encoded).to_list()
    found = []
    for text, source, *row in zip(texts, encoded, ids, starts, ends, strict=True):
        words: list[list[int]] = []
        for token, start, end in zip(*row, strict=True):
            if tokenizer.vocabulary.tokens[token].startswith("##"):
                words[-1][1] = end
            else:
                words.append([start, end])
        expected = reference.words(text)
        assert len(words) == len(expected)
        last = 0
        for (start, end), word in zip(words, expected, strict=True):
            # Alone, a sigma is not where it was in its sentence.
            alone = "".join(reference.words(source[start:end].decode())).replace("ς", "σ")
            if not last <= start < end or alone != word.replace("ς", "σ"):
                found.append((text, source[start:end].decode(errors="replace")))
            last = end
    return found


def normalized(texts: Sequence[str], normalizer) -> list[str]:
    encoded = tf.constant([text.encode() for text in texts])
    return [text.decode() for text in normalizer.normalize(encoded, normalizer.find_rare(encoded)).numpy()]
