"""One training step as pure functions of tensors: the trainer runs them, the preflight compiles them.

Sums cross replicas, not means. The weights that the losses are divided by depend on the data alone, so they are summed
over replicas first; each replica then differentiates its sums divided by the global weights, and the gradients add up
to those of the global batch, whatever the number of replicas or microbatches.
"""

import contextlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.models.compiled import compiled
from bert_tf.training import optimizer
from bert_tf.training.engines.rematerialization import rematerialized


def frozen_variables(model: keras.Model) -> list[keras.Variable]:
    """Weights that do not learn."""
    return [variable for variable in model.non_trainable_variables if _is_weight(variable)]


def _is_weight(variable: keras.Variable) -> bool:
    # What else is not trainable are the states of dropout, which are whole numbers.
    return "float" in variable.dtype


class Step:
    """The functions of a built model that has metric_names, loss_weights, loss_sums and metric_sums.

    Args:
      model: its trainable variables learn.
      train: microbatches, seed and precision count here.
      optimizer_config: rates and decays.
      rate_shares: by which each trainable variable's rate is multiplied; None for 1.
      is_compiled: by XLA, the gradients.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        train: TrainConfig,
        optimizer_config: OptimizerConfig,
        rate_shares: Sequence[float] | None = None,
        is_compiled: bool = False,
    ):
        self._model, self._train, self._optimizer = model, train, optimizer_config
        self._rate_shares = rate_shares
        self._decay_mask = [optimizer.decays(variable.path) for variable in model.trainable_variables]
        self._is_compiled = is_compiled
        self._scaled = train.precision == "mixed_float16"

    def gradients(self, weights, batch, totals, step, replica, scale=1.0, frozen=()):
        """Gradients of this replica's loss sums divided by the global weights, over all microbatches.

        Args:
          weights: the model's trainable weights, as tensors.
          batch: this replica's part of the global batch.
          totals: model.loss_weights summed over replicas.
          step: scalar int64, the optimizer step.
          replica: scalar int32.
          scale: what the loss is multiplied by; `update` divides by it again. Used with mixed_float16 only.
          frozen: the values of frozen_variables(model).

        Returns:
          Dense gradients, and float32 [metrics, 2] of (sum, weight).
        """
        seed = tf.random.experimental.stateless_fold_in(tf.constant([self._train.seed, 0], tf.int64), step)
        seed = tf.random.experimental.stateless_fold_in(seed, replica)
        pieces = self._train.microbatches
        if pieces == 1:
            return self._microbatch_gradients(weights, frozen, batch, totals, seed, scale)
        split = {name: tf.reshape(x, [pieces, -1, *x.shape[1:]]) for name, x in batch.items()}

        def body(index, gradients, sums):
            piece = {name: x[index] for name, x in split.items()}
            piece_seed = tf.random.experimental.stateless_fold_in(seed, index)
            more_gradients, more_sums = self._microbatch_gradients(weights, frozen, piece, totals, piece_seed, scale)
            return (
                index + 1,
                [a + b for a, b in zip(gradients, more_gradients, strict=True)],
                sums + more_sums,
            )

        zeros = [tf.zeros_like(weight) for weight in weights]
        # A loop, not an unrolled graph: only one microbatch's activations may live at a time.
        start = (tf.constant(0), zeros, tf.zeros([len(self._model.metric_names), 2]))
        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < pieces, body, start, parallel_iterations=1, maximum_iterations=pieces
        )
        return gradients, sums

    def _microbatch_gradients(self, weights, frozen, batch, totals, seed, scale):
        # The backward pass too: what is computed again there must be what was computed first.
        with compiled() if self._is_compiled else contextlib.nullcontext():
            with tf.GradientTape() as tape:
                tape.watch(weights)
                outputs = self._call(weights, frozen, batch, training=True, seed=seed)
                losses = self._model.loss_sums(outputs, batch)
                loss = tf.add_n([tf.math.divide_no_nan(losses[name], totals[name]) for name in losses])
                if self._scaled:
                    loss *= scale
            gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
            return gradients, self._metric_sums(outputs, batch, losses)

    def _call(self, weights, frozen, batch, *, training, seed=None):
        """The model as a function of its weights: nothing is read from or written to a variable.

        Dropout draws from seeds that depend on (seed, step, replica, microbatch), so they need no state of their own.
        """
        drawing = [variable for variable in self._model.non_trainable_variables if not _is_weight(variable)]
        if seed is None or not drawing:
            drawn = [tf.convert_to_tensor(variable.value) for variable in drawing]
        else:
            drawn = tf.unstack(tf.random.stateless_uniform([len(drawing), 2], seed, 0, 2**31 - 2, tf.int64))
        frozen, drawn = iter(frozen), iter(drawn)
        remade = training and self._train.rematerialize
        states = [next(frozen if _is_weight(v) else drawn) for v in self._model.non_trainable_variables]
        with rematerialized(self._model, weights, states) if remade else contextlib.nullcontext():
            return self._model.stateless_call(weights, states, batch, training=training)[0]

    def _metric_sums(self, outputs, batch, losses):
        """float32 [metrics, 2]: (sum, weight), in the order of the model's metric_names."""
        weights = self._model.loss_weights(batch)
        sums = {name: (value, weights[name]) for name, value in losses.items()}
        sums |= self._model.metric_sums(outputs, batch)
        return tf.stack([tf.stack(sums[name]) for name in self._model.metric_names])

    def update(self, weights, slots, gradients, step):
        """The optimizer's step on gradients that are summed over replicas. See optimizer.update."""
        return optimizer.update(
            self._optimizer,
            total_steps=self._train.steps,
            decay_mask=self._decay_mask,
            weights=weights,
            slots=slots,
            gradients=gradients,
            step=step,
            scaled=self._scaled,
            rate_shares=self._rate_shares,
        )

    def metrics(self, weights, batch, frozen=()):
        """float32 [metrics, 2] of (sum, weight), without dropout, and the model's outputs."""
        outputs = self._call(weights, frozen, batch, training=False)
        return self._metric_sums(outputs, batch, self._model.loss_sums(outputs, batch)), outputs
