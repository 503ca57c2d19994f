"""The largest batch that fits a chip, found by compiling a few."""

import dataclasses
import math
import sys
from collections.abc import Callable

from bert_tf.preflight.compiling import Compiled, DoesNotFitError

_MOST_DOUBLINGS = 12
# Of the memory, by proportion. The compiler computes activations again by itself where memory is short, which fits some
# 1.3 times too much; what is more than this is not compiled, which would take minutes.
_NOT_WORTH_A_TRY = 1.5


@dataclasses.dataclass(frozen=True)
class Refused:
    """A size that does not compile: how many examples a core, which memory is short (see DoesNotFitError), and why."""

    examples_per_core: int
    memory: str
    sentence: str


@dataclasses.dataclass
class Search:
    """Compiles one size after another.

    Attributes:
      compile_step: examples of a core -> the step of so many.
      hbm: bytes of a core's memory.
      tried: examples of a core, in order.
      refused: those of them that do not fit.
    """

    compile_step: Callable[[int], Compiled]
    hbm: float
    tried: list[int] = dataclasses.field(default_factory=list)
    refused: list[Refused] = dataclasses.field(default_factory=list)

    def first_that_fits(self, rows: int, unit: int) -> Compiled:
        """The step of so many examples a core, or of half, a quarter and so on where it does not fit.

        Args:
          rows: to begin with.
          unit: examples that a core has at least: one for each microbatch.

        Raises:
          DoesNotFitError: not even the smallest fits.
        """
        while True:
            try:
                return self._compiled(rows)
            except DoesNotFitError:
                if rows % (2 * unit):
                    raise
                rows //= 2

    def largest(self, fitting: Compiled) -> int:
        """The largest number of examples a core that fits: those of a step that does, times a power of two."""
        if self.refused:  # on the way to it: its double
            return fitting.examples_per_core
        # Activations grow with the batch, the rest does not: begin where that leads, and go from there.
        first = fitting.examples_per_core
        room = (self.hbm - fitting.total_bytes) / max(fitting.temporary_bytes, 1)
        guess = first * 2 ** min(max(int(math.log2(max(room + 1, 1))), 1), _MOST_DOUBLINGS)
        if not self._double_may_fit(fitting):
            return first
        found = self._fitting(guess)
        while found is None and guess > 2 * first:
            guess //= 2
            found = self._fitting(guess)
            if found is not None:
                return found.examples_per_core  # its double was refused
        largest = found or fitting
        while found is not None and guess < first * 2**_MOST_DOUBLINGS and self._double_may_fit(found):
            guess *= 2
            found = self._fitting(guess)
            largest = found or largest
        return largest.examples_per_core

    def _double_may_fit(self, compiled: Compiled) -> bool:
        return compiled.total_bytes + compiled.temporary_bytes <= _NOT_WORTH_A_TRY * self.hbm

    def _fitting(self, rows: int) -> Compiled | None:
        try:
            return self._compiled(rows)
        except DoesNotFitError:
            return None

    def _compiled(self, rows: int) -> Compiled:
        print(f"trying {rows} examples a chip ...", file=sys.stderr, flush=True)
        self.tried.append(rows)
        try:
            return self.compile_step(rows)
        except DoesNotFitError as error:
            self.refused.append(Refused(rows, error.memory, str(error)))
            raise
