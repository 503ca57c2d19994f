"""The training loop: one tf.function runs several steps (bert_tf/training/step.py) on the device by strategy.run."""

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from bert_tf.config import OptimizerConfig, TrainConfig
from bert_tf.errors import InputError
from bert_tf.training import optimizer
from bert_tf.training.checkpoints import Checkpoints
from bert_tf.training.monitoring import Monitor
from bert_tf.training.step import Step


class Trainer:
    """Trains any model that has metric_names, loss_weights, loss_sums and metric_sums (see BertForPreTraining).

    Args:
      model_fn: makes the built model; called under the strategy, after the seed is set.
      train: how the run goes.
      optimizer_config: rates and decays.
      strategy: where it runs.
      workdir: for checkpoints and metrics.

    Raises:
      InputError: the global batch does not divide into replicas and microbatches.
    """

    def __init__(
        self,
        model_fn: Callable[[], keras.Model],
        *,
        train: TrainConfig,
        optimizer_config: OptimizerConfig,
        strategy: tf.distribute.Strategy,
        workdir: str,
    ):
        pieces = strategy.num_replicas_in_sync * train.microbatches
        if train.global_batch_size % pieces:
            raise InputError(
                f"train.global_batch_size={train.global_batch_size}: expected a multiple of replicas x microbatches = "
                f"{strategy.num_replicas_in_sync} x {train.microbatches}."
            )
        self._train, self._strategy, self._workdir = train, strategy, workdir
        keras.utils.set_random_seed(train.seed)
        with strategy.scope():
            self.model = model_fn()
            self._weights = [variable.value for variable in self.model.trainable_variables]
            zeros = [
                [tf.Variable(tf.zeros(w.shape, w.dtype), trainable=False) for w in self._weights] for _ in range(2)
            ]
            self._slots = optimizer.Slots(*zeros)
            self._checkpoints = Checkpoints(
                workdir, weights=self._weights, slots=[*zeros[0], *zeros[1]], keep=train.keep_checkpoints
            )
        self._step = Step(self.model, train=train, optimizer_config=optimizer_config)

    def fit(
        self,
        training_batches: Callable[[int], tf.data.Dataset],
        validation_batches: Callable[[], tf.data.Dataset] | None,
    ) -> dict[str, float]:
        """Runs from the latest checkpoint to the last step.

        Args:
          training_batches: start step -> endless dataset of global batches.
          validation_batches: -> finite dataset of global batches; None: no evaluation.

        Returns:
          The last evaluation's metrics, empty without validation.
        """
        config = self._train
        step = self._checkpoints.restore()
        if step:
            print(f"resuming at step {step} of {config.steps}", flush=True)
        monitor = Monitor(self._workdir, start_step=step, total_steps=config.steps)
        evaluated: dict[str, float] = {}

        def evaluate():
            nonlocal evaluated
            if validation_batches is not None:
                evaluated = self.evaluate(validation_batches())
                monitor.write(step, "validation", evaluated)
                monitor.show(step, "validation", evaluated)

        if step == 0:
            evaluate()
        elif step == config.steps and validation_batches is not None:
            return self.evaluate(validation_batches())
        iterator = iter(self._strategy.experimental_distribute_dataset(training_batches(step)))
        window: list[np.ndarray] = []
        examples, seconds = 0, 0.0
        for count in self._loops(step):
            began = time.monotonic()
            try:
                window.append(self._run_steps(iterator, tf.constant(step, tf.int64), tf.constant(count)).numpy())
            except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
                reason = error.message.splitlines()[0]
                raise InputError(
                    f"steps {step} to {step + count}: expected readable shards. Received: {reason}."
                ) from None
            step += count
            seconds += time.monotonic() - began
            examples += count * config.global_batch_size
            if step % config.log_every == 0 or step == config.steps:
                metrics = {
                    **self._summarize(np.concatenate(window).sum(axis=0)),
                    "examples_per_second": examples / seconds,
                }
                monitor.write(step, "train", metrics)
                monitor.show(step, "train", metrics)
                window, examples, seconds = [], 0, 0.0
            if step % config.evaluate_every == 0 or step == config.steps:
                evaluate()
            if step % config.checkpoint_every == 0 or step == config.steps:
                self._checkpoints.save(step)
        return evaluated

    def evaluate(self, dataset: tf.data.Dataset) -> dict[str, float]:
        """Losses and metrics over a finite dataset, each divided by its weights once, at the end."""
        totals = None
        for batch in self._strategy.experimental_distribute_dataset(dataset):
            # float64: thousands of batches are added up.
            sums = self._evaluation_step(batch).numpy().astype(np.float64)
            totals = sums if totals is None else totals + sums
        return self._summarize(totals)

    def _loops(self, step: int) -> Iterator[int]:
        """Numbers of steps to run at once, so that every multiple of an interval falls on a loop's end."""
        config = self._train
        intervals = (config.log_every, config.evaluate_every, config.checkpoint_every)
        while step < config.steps:
            ends = [step + config.steps_per_loop, config.steps, *(step - step % n + n for n in intervals)]
            yield min(ends) - step
            step = min(ends)

    def _summarize(self, sums: np.ndarray) -> dict[str, float]:
        """[metrics, 2] of (sum, weight) -> {name: mean}, with "loss", the sum of all losses, in front."""
        names = [*self.model.metric_names, *optimizer.TOLD][: len(sums)]
        means = {name: float(total / max(weight, 1e-9)) for name, (total, weight) in zip(names, sums, strict=True)}
        return {"loss": sum(value for name, value in means.items() if name.endswith("_loss")), **means}

    @tf.function
    def _run_steps(self, iterator, first_step, count):
        """Runs `count` steps. Returns float32 [count, metrics, 2]: (sum, weight) over the replicas, step by step."""
        history = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            step = first_step + tf.cast(index, tf.int64)
            sums = self._strategy.run(self._train_step, args=(next(iterator), step))
            history = history.write(index, self._strategy.reduce("SUM", sums, axis=None))
        return history.stack()

    def _train_step(self, batch, step):
        """One optimizer step, in a replica's context. Returns float32 [metrics, 2] of this replica."""
        context = tf.distribute.get_replica_context()
        weights = [tf.convert_to_tensor(variable) for variable in self._weights]
        slots = optimizer.Slots(*([tf.convert_to_tensor(v) for v in moment] for moment in self._slots))
        totals = context.all_reduce("SUM", self.model.loss_weights(batch))
        gradients, sums = self._step.gradients(weights, batch, totals, step, context.replica_id_in_sync_group)
        gradients = context.all_reduce("SUM", gradients)
        new_weights, new_slots, told = self._step.update(weights, slots, gradients, step)
        variables = [*self._weights, *self._slots.first, *self._slots.second]
        context.merge_call(self._assign, args=(variables, [*new_weights, *new_slots.first, *new_slots.second]))
        return tf.concat([sums, [[told[name], 1.0] for name in optimizer.TOLD]], axis=0)

    @staticmethod
    def _assign(strategy, variables, values):
        """Sets every replica's copy to its own result, which is the same on all of them."""
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, new: v.assign(new), args=(value,))

    @tf.function
    def _evaluation_step(self, batch):
        def replica(batch):
            return self._step.metrics([tf.convert_to_tensor(v) for v in self._weights], batch)

        return self._strategy.reduce("SUM", self._strategy.run(replica, args=(batch,)), axis=None)
