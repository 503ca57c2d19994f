"""A loss or gradient that is NaN or infinite."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Fault(NamedTuple):
    """A step with a NaN or infinite loss or gradient.

    Attributes:
      step: the first optimizer step that met one, from 0.
      found: the metrics and their values, in words.
    """

    step: int
    found: str


def first_fault(
    names: Sequence[str], metrics: np.ndarray, first_step: int, *, losses: Sequence[str], scaled: bool
) -> Fault | None:
    """Looks at the metrics of some steps.

    Args:
      names: of the metrics.
      metrics: [steps, metrics, 2].
      first_step: number of the first of them.
      losses: names of those that are losses.
      scaled: gradients are multiplied by the loss scale.
    """
    watched = [i for i, name in enumerate(names) if name in losses or name == "gradient_norm"]
    bad = ~np.isfinite(metrics[:, watched, 0])
    if scaled:
        # An overflow only lowers the scale, as long as there is something to lower.
        at_one = metrics[:, names.index("loss_scale"), 0] <= 1.0
        bad[:, watched.index(names.index("gradient_norm"))] &= at_one
    if not bad.any():
        return None
    index = int(bad.any(axis=1).argmax())
    found = ", ".join(f"{names[watched[i]]} {metrics[index, watched[i], 0]:g}" for i in np.flatnonzero(bad[index]))
    return Fault(first_step + index, found)
