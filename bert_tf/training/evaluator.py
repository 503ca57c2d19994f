"""Losses and metrics of a model over a finite stream of batches, under any strategy."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import InputError
from bert_tf.training.engines.strategy import Worker, distributed
from bert_tf.training.step import Step, frozen_variables


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which evaluation is the best one.

    Attributes:
      metric: name of a metric.
      patience: evaluations without a better one after which a run ends; None for no end before the last step.
      score: the model's outputs for all validation rows, {name: [rows, ...]} in their order -> more metrics. None: the
        outputs are not even gathered.
    """

    metric: str = "loss"
    patience: int | None = None
    score: Callable[[dict[str, np.ndarray]], dict[str, float]] | None = None

    def cost(self, metrics: dict[str, float]) -> float:
        """The metric, so that less is better.

        Raises:
          InputError: there is none of this name.
        """
        if self.metric not in metrics:
            raise InputError(f"tuning.metric={self.metric}: expected one of {', '.join(metrics)}.")
        return metrics[self.metric] if less_is_better(self.metric) else -metrics[self.metric]


def less_is_better(metric: str) -> bool:
    """Of losses and errors; of all other metrics more is."""
    return metric.endswith(("loss", "error"))


class Evaluator:
    """Evaluates a model that has metric_names, loss_weights, loss_sums and metric_sums (see BertForPreTraining)."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy, selection: Selection = Selection()):  # noqa: B008 - it is immutable
        self._model, self._strategy, self._score = model, strategy, selection.score
        self._weights = [variable.value for variable in model.trainable_variables]
        self._frozen = [variable.value for variable in frozen_variables(model)]
        self._step = Step(model, train=TrainConfig(), optimizer_config=OptimizerConfig())

    def evaluate(
        self, batches: Callable[[Worker], tf.data.Dataset], is_stopped: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Every loss and metric over all rows, each divided by its weights once, at the end.

        Args:
          batches: a worker -> its part of a finite stream of global batches.
          is_stopped: whether this worker was asked to stop. Then all workers give up after the same batch.

        Returns:
          {name: mean}, None if it was given up.
        """
        totals = np.zeros((len(self._model.metric_names), 2))
        gathered: list[dict[str, np.ndarray]] = []
        dataset, _ = distributed(self._strategy, batches)
        for batch in dataset:
            sums, outputs = self._batch_sums(batch, tf.constant(float(is_stopped())))
            # float64: thousands of batches are added up.
            *sums, stops = sums.numpy()
            if stops[0]:
                return None
            totals += sums
            gathered.append({name: x.numpy() for name, x in outputs.items()})
        means = summarize(self._model.metric_names, totals)
        means |= self._model.derived_metrics(means)
        if self._score is not None and gathered:
            means |= self._score({name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]})
        return means

    @tf.function
    def _batch_sums(self, batch, stop):
        def replica(batch, stop):
            weights, frozen = ([tf.convert_to_tensor(v) for v in part] for part in (self._weights, self._frozen))
            sums, outputs = self._step.metrics(weights, batch, frozen)
            return tf.concat([sums, [[stop, 1.0]]], axis=0), outputs

        sums, outputs = self._strategy.run(replica, args=(batch, stop))
        if self._score is None:
            outputs = {}
        # Replicas hold consecutive rows, so the gathered rows are in the order of the batch.
        gathered = {name: self._strategy.gather(x, axis=0) for name, x in outputs.items()}
        return self._strategy.reduce("SUM", sums, axis=None), gathered


def summarize(names: Sequence[str], sums: np.ndarray) -> dict[str, float]:
    """[names, 2] of (sum, weight) -> {name: mean}, with "loss", the sum of all losses, in front.

    What has no weight, such as next sentences in data without pairs, has no mean and is left out.
    """
    means = {name: float(total / weight) for name, (total, weight) in zip(names, sums, strict=True) if weight}
    return {"loss": sum(value for name, value in means.items() if name.endswith("_loss")), **means}
