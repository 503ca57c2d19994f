"""How much of the texts a model does not read: counted by every task, reported by every command."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Truncation:
    """Examples and tokens that are not read.

    Attributes:
      examples: number of examples.
      truncated: of them, those that are not read to the end.
      tokens: of all texts, without special tokens.
      lost: of them, those that are not read.

    Example:
      str(Truncation(4, 1, 200, 50)) == "1 of 4 examples truncated (25.00%), 50 of 200 tokens not read (25.00%)"
    """

    examples: int = 0
    truncated: int = 0
    tokens: int = 0
    lost: int = 0

    @classmethod
    def of(cls, layout: dict[str, np.ndarray]) -> "Truncation":
        """What a layout says: text_tokens and lost_tokens, [examples] or [examples, texts]."""
        lost = of_examples(layout)
        return cls(len(lost), int((lost > 0).sum()), int(layout["text_tokens"].sum()), int(lost.sum()))

    def __add__(self, other: "Truncation") -> "Truncation":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Truncation(*(a + b for a, b in pairs))

    def __str__(self) -> str:
        examples = (
            f"{self.truncated:,} of {self.examples:,} examples truncated ({_share(self.truncated, self.examples)})"
        )
        return f"{examples}, {self.lost:,} of {self.tokens:,} tokens not read ({_share(self.lost, self.tokens)})"


def of_examples(layout: dict[str, np.ndarray]) -> np.ndarray:
    """Tokens that are not read, of each example."""
    lost = layout["lost_tokens"]
    return lost.reshape(len(lost), -1).sum(axis=1)


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.2%}"
