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

    def flags(self) -> dict[str, bool | int]:
        """What changes the ids of ordinary text, by the flags of pipelines.create_pretraining_data."""
        return {
            "lower_case": self.lower_case,
            "strip_accents": self.strips_accents,
            "split_cjk": self.split_cjk,
            "max_word_length": self.max_word_length,
        }

    @property
    def strips_accents(self) -> bool:
        return self.lower_case if self.strip_accents is None else self.strip_accents
