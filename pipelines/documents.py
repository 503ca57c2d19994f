"""Documents: identity, and the split into sentences. Plain functions, no Beam."""

import hashlib
import re

# A sentence ends at . ! ? (with closing quotes or brackets) before white space and an upper-case letter, a digit or an
# opening quote, or at an ideographic full stop. A single capital before the dot ("J. Smith") does not end one.
_SENTENCE_END = re.compile(r"""(?<!\b[A-Z]\.)(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]?[A-Z0-9])|(?<=[。！？])""")


def document_id(text: str) -> bytes:
    """16 bytes that depend on the content alone, so that the same document is the same in any file."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def split_sentences(text: str) -> list[str]:
    """Sentences with inner white space collapsed. A line break always ends a sentence."""
    sentences = []
    for line in text.splitlines():
        for sentence in _SENTENCE_END.split(line):
            sentence = " ".join(sentence.split())
            if sentence:
                sentences.append(sentence)
    return sentences
