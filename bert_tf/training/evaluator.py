"""Losses and metrics of a model over a finite stream of batches, under any strategy."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from bert_tf.config import OptimizerConfig, TrainConfig
from bert_tf.training.step import Step
from bert_tf.training.strategy import Worker, distributed


class Evaluator:
    """Evaluates a model that has metric_names, loss_weights, loss_sums and metric_sums (see BertForPreTraining)."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy):
        self._model, self._strategy = model, strategy
        self._weights = [variable.value for variable in model.trainable_variables]
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
        dataset, _ = distributed(self._strategy, batches)
        for batch in dataset:
            # float64: thousands of batches are added up.
            *sums, stops = self._batch_sums(batch, tf.constant(float(is_stopped()))).numpy()
            if stops[0]:
                return None
            totals += sums
        means = summarize(self._model.metric_names, totals)
        return {**means, **self._model.derived_metrics(means)}

    @tf.function
    def _batch_sums(self, batch, stop):
        def replica(batch, stop):
            sums = self._step.metrics([tf.convert_to_tensor(v) for v in self._weights], batch)
            return tf.concat([sums, [[stop, 1.0]]], axis=0)

        return self._strategy.reduce("SUM", self._strategy.run(replica, args=(batch, stop)), axis=None)


def summarize(names: Sequence[str], sums: np.ndarray) -> dict[str, float]:
    """[names, 2] of (sum, weight) -> {name: mean}, with "loss", the sum of all losses, in front.

    What has no weight, such as next sentences in data without pairs, has no mean and is left out.
    """
    means = {name: float(total / weight) for name, (total, weight) in zip(names, sums, strict=True) if weight}
    return {"loss": sum(value for name, value in means.items() if name.endswith("_loss")), **means}
