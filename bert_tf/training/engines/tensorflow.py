"""Several training steps (bert_tf/training/step.py) as one tf.function, run on the device by strategy.run."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.training import optimizer
from bert_tf.training.step import Step, frozen_variables

TOKENS, STOP = "tokens", "stop"  # rows of a step's sums beside the model's metrics


class DeviceLoop:
    """The weights and slots of a run, and the steps that change them.

    Args:
      model_fn: makes the built model; called under the strategy.
      train: how the run goes.
      optimizer_config: rates and decays.
      rate_shares: model -> by which each trainable variable's rate is multiplied; None for 1.
      strategy: where it runs.
    """

    def __init__(
        self,
        model_fn: Callable[[], keras.Model],
        *,
        train: TrainConfig,
        optimizer_config: OptimizerConfig,
        rate_shares: Callable[[keras.Model], Sequence[float]] | None,
        strategy: tf.distribute.Strategy,
    ):
        self._strategy = strategy
        with strategy.scope():
            self.model = model_fn()
            self.weights = [variable.value for variable in self.model.trainable_variables]
            self._frozen = [variable.value for variable in frozen_variables(self.model)]
            first, second = (
                [tf.Variable(tf.zeros(w.shape, w.dtype), trainable=False) for w in self.weights] for _ in range(2)
            )
            scale = tf.Variable(optimizer.first_scale(train.precision), trainable=False)
            self.slots = optimizer.Slots(first, second, scale)
        # Weights come in as tensors: XLA takes no mirrored variable. A TPU compiles everything as it is.
        is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        compiles_gradients = not is_tpu and (train.xla == "on" or (train.xla == "auto" and on_gpu))
        self.step = Step(
            self.model,
            train=train,
            optimizer_config=optimizer_config,
            rate_shares=None if rate_shares is None else rate_shares(self.model),
            is_compiled=is_tpu or compiles_gradients,
        )
        # The update is one pass over the weights if it is compiled and a dozen if it is not.
        compiles_update = not is_tpu and train.xla != "off"
        self._gradients = _compiled(self.step.gradients) if compiles_gradients else self.step.gradients
        self._update = _compiled(self.step.update) if compiles_update else self.step.update
        self.names = [*self.model.metric_names, TOKENS, STOP, *optimizer.TOLD]

    def run(self, iterator, first_step: int, count: int, *, is_stopped: bool) -> np.ndarray:
        """Runs `count` steps.

        Args:
          iterator: of distributed batches.
          first_step: optimizer steps done before.
          is_stopped: whether this worker was asked to stop.

        Returns:
          float32 [count, names, 2]: (sum, weight) over the replicas, step by step.
        """
        stop = tf.constant(float(is_stopped))
        return self._run(iterator, tf.constant(first_step, tf.int64), tf.constant(count), stop).numpy()

    @tf.function
    def _run(self, iterator, first_step, count, stop):
        history = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            step = first_step + tf.cast(index, tf.int64)
            sums = self._strategy.run(self._train_step, args=(next(iterator), step, stop))
            history = history.write(index, self._strategy.experimental_local_results(sums)[0])
        return history.stack()

    def _train_step(self, batch, step, stop):
        """One optimizer step, in a replica's context. Returns float32 [names, 2] over all replicas."""
        context = tf.distribute.get_replica_context()
        weights, frozen = ([tf.convert_to_tensor(v) for v in part] for part in (self.weights, self._frozen))
        slots = optimizer.Slots(
            *([tf.convert_to_tensor(v) for v in moments] for moments in self.slots[:2]),
            tf.convert_to_tensor(self.slots.scale),
        )
        totals = context.all_reduce("SUM", self.model.loss_weights(batch))
        gradients, sums = self._gradients(
            weights, batch, totals, step, context.replica_id_in_sync_group, slots.scale[0], frozen
        )
        tokens = tf.cast(tf.reduce_sum(batch["input_mask"]), tf.float32)
        sums = tf.concat([sums, [[tokens, 1.0], [stop, 1.0]]], axis=0)
        *gradients, sums = context.all_reduce("SUM", [*gradients, sums])
        new_weights, new_slots, told = self._update(weights, slots, gradients, step)
        variables = [*self.weights, *self.slots.first, *self.slots.second, self.slots.scale]
        values = [*new_weights, *new_slots.first, *new_slots.second, new_slots.scale]
        context.merge_call(self._assign, args=(variables, values))
        return tf.concat([sums, [[told[name], 1.0] for name in optimizer.TOLD]], axis=0)

    @staticmethod
    def _assign(strategy, variables, values):
        """Sets every replica's copy to its own result, which is the same on all of them."""
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, new: v.assign(new), args=(value,))


def _compiled(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)
