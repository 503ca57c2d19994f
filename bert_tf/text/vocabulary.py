"""A WordPiece vocabulary: one token per line, whose line number is its id; added tokens follow.

This module needs the standard library only, so a launcher can check a vocabulary without loading TensorFlow.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bert_tf.core.errors import InputError
from bert_tf.core.stores import objects

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A string that is one token wherever it occurs in a text, with the flags of Hugging Face's `tokenizers`.

    Attributes:
      content: the string.
      single_word: it matches only if no letter, mark, digit or underscore touches it.
      lstrip, rstrip: the match includes the white space before or after it. The ids do not change, since white space
        has no tokens.
      normalized: the normalized string is matched in the normalized text; otherwise the string in the original text.
      special: transformers omits it when it decodes without special tokens.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids: the pieces of words, and behind them the added tokens that are none of these.

    Attributes:
      pieces: the lines of vocab.txt.
      source: names it in errors.
      added: strings that are tokens wherever they stand, by their ids; those that are no pieces get the ids behind the
        pieces in the order in which they are given.

    Raises:
      InputError: a special token is missing, a token occurs twice, [UNK] is not a piece, or an added token is empty,
        begins or ends with white space, or holds NUL or a word that begins with "##".
    """

    pieces: tuple[str, ...]
    source: str = dataclasses.field(default="vocabulary", compare=False)
    added: tuple[AddedToken, ...] = ()

    def __post_init__(self):
        missing = [token for token in SPECIAL_TOKENS if token not in self.ids]
        if missing:
            raise InputError(
                f"{self.source}: expected the special tokens {', '.join(SPECIAL_TOKENS)}. "
                f"Received a vocabulary of {len(self.tokens)} tokens without {', '.join(missing)}."
            )
        if len(self.ids) != len(self.tokens):
            seen = set()
            twice = next(token for token in self.tokens if token in seen or seen.add(token))
            raise InputError(f"{self.source}: expected every token once. Received {twice!r} twice.")
        if UNK not in self.pieces:
            raise InputError(f"{self.source}: expected {UNK} among the pieces of words. Received it as an added token.")
        for token in self.added:
            content = token.content
            if not content or content != content.strip() or "\0" in content or " ##" in f" {content}":
                raise InputError(
                    f"{self.source}: expected added tokens that neither begin nor end with white space and hold no NUL "
                    f"and no word that begins with '##'. Received: {content!r}."
                )
        object.__setattr__(self, "added", tuple(sorted(self.added, key=lambda token: self.ids[token.content])))

    @classmethod
    def parse(cls, data: bytes, source: str, added: Iterable[AddedToken] = ()) -> "Vocabulary":
        """Reads the bytes of a vocab.txt; `source` names it in errors."""
        return cls(lines_of(data, source), source, tuple(added))

    @classmethod
    def load(cls, path: str) -> "Vocabulary":
        """Reads a local vocab.txt."""
        return cls(read_lines(path), str(path))

    @functools.cached_property
    def tokens(self) -> tuple[str, ...]:
        pieces = set(self.pieces)
        return self.pieces + tuple(token.content for token in self.added if token.content not in pieces)

    def serialize(self) -> bytes:
        """The bytes of vocab.txt, without the added tokens."""
        return "".join(piece + "\n" for piece in self.pieces).encode("utf-8")

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @functools.cached_property
    def sha256(self) -> str:
        """A hash of vocab.txt, and of the added tokens where there are any."""
        return digest(self.serialize(), self.added)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> int:
        return self.ids[token]


def added_tokens(described: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    """The added tokens in the entry `vocabulary` of a dataset.json."""
    return tuple(AddedToken(**token) for token in described.get("added_tokens", ()))


def digest(data: bytes, added: Iterable[AddedToken]) -> str:
    """`Vocabulary.sha256` from the bytes of its vocab.txt."""
    flags = [dataclasses.asdict(token) for token in added]
    return hashlib.sha256(data + (json.dumps(flags).encode() if flags else b"")).hexdigest()


def lines_of(data: bytes, source: str) -> tuple[str, ...]:
    """The tokens in the bytes of a vocab.txt.

    Raises:
      InputError: no UTF-8.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: expected UTF-8. Received an invalid byte at offset {error.start}.") from None
    # Only "\n" ends a line: str.splitlines would also split at U+2028 and U+0085, which are tokens.
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def read_lines(path: str) -> tuple[str, ...]:
    """The tokens in a vocab.txt, which may be on a store."""
    if objects.is_remote(path):
        return lines_of(objects.read_bytes(path), path)
    try:
        with open(path, "rb") as file:
            return lines_of(file.read(), str(path))
    except OSError as error:
        raise InputError(f"{path}: expected a vocabulary file, one token a line. Received: {error.strerror}.") from None
