"""How fast a run is against what its devices can do."""

import time
from collections.abc import Mapping

_PASSES = 3  # a backward pass has two products for every one of the forward pass


def step_flops(forward_flops: float) -> float:
    """Floating-point operations of the matrix products of a training step."""
    return _PASSES * forward_flops


class Rate:
    """Examples, tokens and steps of the time that was spent on steps, since the last look.

    Args:
      utilizations: {metric: steps a second of a device that would be used fully}.
    """

    def __init__(self, utilizations: Mapping[str, float]):
        self._utilizations = utilizations
        self._is_first = True
        self._loops: list[tuple[float, ...]] = []

    def add(self, examples: int, tokens: float, steps: int, began: float) -> None:
        self._loops.append((examples, float(tokens), steps, time.monotonic() - began))

    def take(self) -> dict[str, float]:
        # A process compiles in its first loop, which says nothing about its speed if there are others.
        loops = self._loops[1:] if self._is_first and len(self._loops) > 1 else self._loops
        examples, tokens, steps, seconds = map(sum, zip(*loops, strict=True))
        self._is_first, self._loops = False, []
        return {
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,  # of text: padding is not counted
            **{name: steps / seconds / most for name, most in self._utilizations.items()},
        }
