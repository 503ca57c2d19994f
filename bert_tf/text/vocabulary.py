"""A WordPiece vocabulary as a plain value: one token a line, the line number is the id.

Needs the standard library only, so that a launcher can check one without loading TensorFlow.
"""

import dataclasses
import functools
import hashlib

from bert_tf.core.errors import InputError

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids.

    Raises:
      InputError: a special token is missing, or a token stands twice.
    """

    tokens: tuple[str, ...]
    source: str = dataclasses.field(default="vocabulary", compare=False)

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

    @classmethod
    def parse(cls, data: bytes, source: str) -> "Vocabulary":
        """Reads the bytes of a vocab.txt; `source` names it in errors."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{source}: expected UTF-8. Received an invalid byte at offset {error.start}.") from None
        # Only "\n" ends a line: str.splitlines would also split at U+2028 and U+0085, which are tokens.
        lines = [line.rstrip("\r") for line in text.split("\n")]
        if lines and not lines[-1]:
            lines.pop()
        return cls(tuple(lines), source)

    @classmethod
    def load(cls, path: str) -> "Vocabulary":
        """Reads a local vocab.txt."""
        try:
            with open(path, "rb") as file:
                return cls.parse(file.read(), str(path))
        except OSError as error:
            raise InputError(
                f"{path}: expected a vocabulary file, one token a line. Received: {error.strerror}."
            ) from None

    def serialize(self) -> bytes:
        """The bytes of vocab.txt."""
        return "".join(token + "\n" for token in self.tokens).encode("utf-8")

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.serialize()).hexdigest()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> int:
        return self.ids[token]
