"""Sums over batches -> means, and which evaluation is the best one."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from bert_tf.core.errors import InputError
from bert_tf.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which evaluation is the best one.

    Attributes:
      metric: name of a metric.
      less_is_better: of the metric, as of losses.
      patience: evaluations without a better one after which a run ends; None for no end before the last step.
      score: the model's outputs for all validation rows, {name: [rows, ...]} in their order -> more metrics. None: the
        outputs are not even gathered.
    """

    metric: str = "loss"
    less_is_better: bool = True
    patience: int | None = None
    score: Callable[[dict[str, np.ndarray]], dict[str, float]] | None = None

    def cost(self, metrics: dict[str, float]) -> float:
        """The metric, so that less is better.

        Raises:
          InputError: there is none of this name.
        """
        if self.metric not in metrics:
            raise InputError(f"tuning.metric={self.metric}: expected one of {', '.join(metrics)}.")
        return metrics[self.metric] if self.less_is_better else -metrics[self.metric]


def means(objective: Objective, names: Sequence[str], sums: np.ndarray) -> dict[str, float]:
    """[names, 2] of (sum, weight) -> {name: mean}, with "loss", the sum of all losses, in front.

    What has no weight in the data has no mean and is left out.
    """
    found = {name: float(total / weight) for name, (total, weight) in zip(names, sums, strict=True) if weight}
    return {"loss": sum(value for name, value in found.items() if name in objective.losses), **found}
