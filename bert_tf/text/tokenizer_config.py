"""What a tokenizer needs to know beside its vocabulary, as it travels with a model. Standard library only."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Arguments of bert_tf.text.wordpiece.Tokenizer, which explains them."""

    lower_case: bool = True
    strip_accents: bool | None = None
    max_word_length: int = 100
    split_cjk: bool = True
    rules: Literal["google", "huggingface"] = "google"

    @property
    def strips_accents(self) -> bool:
        return self.lower_case if self.strip_accents is None else self.strip_accents
