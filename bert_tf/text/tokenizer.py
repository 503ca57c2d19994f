"""The interface of a kind of tokenizer, and the table of kinds. Standard library only, until a tokenizer is made.

Example:
  kind = tokenizer_kind("wordpiece")
  vocabulary, config, longest = kind.read("models/bert-base")
  tokenizer = kind.make(vocabulary, config)
  tokenizer.pack(["first"], ["second"], max_seq_length=16)["input_word_ids"]  # [CLS] first [SEP] second [SEP]
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

# A family's `tokenizer`, or --tokenizer of pipelines -> module:attribute of the kind.
TOKENIZERS: dict[str, str] = {
    "wordpiece": "bert_tf.text.wordpiece_kind:WORDPIECE",
}


class TextTokenizer(Protocol):
    """Text -> ids and back, as a graph of ops that TF Serving has; a tf.Module.

    Attributes:
      vocabulary: tokens in the order of their ids, with [PAD], [UNK], [CLS], [SEP] and [MASK].
      begins_word: bool tensor [vocab]: whether a token begins a word, wherever it stands.
    """

    vocabulary: Vocabulary
    begins_word: Any

    def tokenize(self, texts: Any) -> Any:
        """string [n] -> ragged int32 [n, tokens], without special tokens."""

    def tokenize_with_offsets(self, texts: Any) -> tuple[Any, Any, Any]:
        """string [n] -> ids, and begin and end of each token in bytes of its text, ragged [n, tokens]."""

    def detokenize(self, ids: Any, *, skip_special_tokens: bool = True) -> Any:
        """Ids [n, tokens] -> string [n]."""

    def pack(self, *segments: Any, max_seq_length: int, **options: Any) -> dict[str, Any]:
        """Texts, or pairs of them, as the encoder's inputs, framed by special tokens; see wordpiece.py."""


class TokenizerKind(Protocol):
    """How a kind of vocabulary is read and written, and a tokenizer made of it.

    Attributes:
      files: names of the files that `write` makes.
    """

    files: Sequence[str]

    def is_there(self, folder: str) -> bool:
        """Whether a folder holds such a vocabulary."""

    def read(self, folder: str) -> tuple[Vocabulary, TokenizerConfig, float]:
        """The vocabulary, its settings, and the most tokens of a text (a huge number where there is no limit).

        Raises:
          InputError: a file that is not what it should be.
        """

    def write(self, folder: str, vocabulary: Vocabulary, config: TokenizerConfig, max_seq_length: int) -> None:
        """Writes what `read` reads and transformers opens."""

    def make(
        self, vocabulary: Vocabulary, config: TokenizerConfig, *, keep_special_tokens: bool = False
    ) -> TextTokenizer:
        """A tokenizer; keep_special_tokens: [MASK] and the like in a text are tokens. Loads TensorFlow."""


def tokenizer_kind(name: str) -> TokenizerKind:
    """A kind of the table.

    Raises:
      InputError: there is none of this name.
    """
    if name not in TOKENIZERS:
        raise InputError(f"tokenizer={name}: expected one of {', '.join(TOKENIZERS)}.")
    module, _, attribute = TOKENIZERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
