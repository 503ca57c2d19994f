"""An evaluation: every loss and metric over all rows; and which evaluation is the best one."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from bert_tf.core.errors import InputError
from bert_tf.objectives.objective import Objective
from bert_tf.training.engines.engine import Engine


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which evaluation is the best one.

    Attributes:
      metric: name of a metric.
      less_is_better: of the metric, as of losses.
      patience: evaluations without a better one after which a run ends; None for no end before the last step.
      counts_start: whether the evaluation before the first step may be the best one. It may not where the head has
        random weights then.
      score: the model's outputs for all validation rows, {name: [rows, ...]} in their order -> more metrics. None: the
        outputs are not even gathered.
    """

    metric: str = "loss"
    less_is_better: bool = True
    patience: int | None = None
    counts_start: bool = True
    score: Callable[[dict[str, np.ndarray]], dict[str, float]] | None = None

    def cost(self, metrics: dict[str, float]) -> float:
        """The metric, so that less is better.

        Raises:
          InputError: there is none of this name.
        """
        if self.metric not in metrics:
            raise InputError(f"tuning.metric={self.metric}: expected one of {', '.join(metrics)}.")
        return metrics[self.metric] if self.less_is_better else -metrics[self.metric]

    def is_perfect(self, metrics: dict[str, float]) -> bool:
        """Whether no evaluation can be better: an error or a loss of 0, or a score of 1."""
        return self.cost(metrics) <= (0.0 if self.less_is_better else -1.0)


def means(objective: Objective, names: Sequence[str], sums: np.ndarray) -> dict[str, float]:
    """[names, 2] of (sum, weight) -> {name: mean}, with "loss", the sum of all losses, in front.

    What has no weight in the data has no mean and is left out.
    """
    found = {name: float(total / weight) for name, (total, weight) in zip(names, sums, strict=True) if weight}
    return {"loss": sum(value for name, value in found.items() if name in objective.losses), **found}


def evaluate(
    engine: Engine,
    objective: Objective,
    batches,
    score: Callable[[dict[str, np.ndarray]], dict[str, float]] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Every loss and metric over all rows, each divided by its weights once, at the end.

    Args:
      engine: with a model in place.
      objective: what the model learns.
      batches: a worker -> its part of a finite stream of global batches.
      score: see Selection.
      is_stopped: whether this worker was asked to stop. Then all workers give up after the same batch.

    Returns:
      {name: mean}, None if it was given up.
    """
    found = engine.evaluate(batches, is_stopped, with_outputs=score is not None)
    if found is None:
        return None
    sums, outputs = found
    metrics = means(objective, objective.metrics, sums)
    metrics |= objective.derived(metrics)
    if score is not None and outputs:
        metrics |= score(outputs)
    return metrics
