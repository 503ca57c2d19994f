"""One training step: loss sums, metrics and update in keras.ops, and the order in which an engine puts them together.

Sums cross replicas, not means. The denominators of the losses depend on the data alone, so they are summed over
replicas first; each replica then differentiates its sums divided by the global denominators, and the gradients add up
to those of the global batch, whatever the number of replicas or microbatches.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import keras
from keras import ops

from bert_tf.core.config import OptimizerConfig
from bert_tf.models.family import by_variable
from bert_tf.objectives.objective import Batch, Objective, Sums
from bert_tf.training import optimizer
from bert_tf.training.optimizer import Slots


class Pieces(Protocol):
    """A step's three functions of tensors, as an engine differentiates and compiles them."""

    def denominators(self, batch: Batch) -> dict[str, Any]:
        """See Objective."""

    def gradients(
        self, weights: list, frozen: list, batch: Batch, totals: dict, number: Any, replica: Any, scale: Any
    ) -> tuple[list, Any, Any]:
        """Gradients of this replica's loss sums divided by `totals`, float32 [metrics, 2] and the number of tokens.

        Args:
          weights: of the model's trainable variables.
          frozen: of its other weights.
          batch: this replica's part of the global batch.
          totals: denominators, summed over replicas.
          number: scalar integer of the optimizer step, from 0.
          replica: scalar integer.
          scale: what the loss is multiplied by; `update` divides by it again.
        """

    def update(self, weights: list, slots: Slots, gradients: list, number: Any) -> tuple[list, Slots, dict[str, Any]]:
        """See optimizer.update."""


class StepResult(NamedTuple):
    """What a step gives, the same on every replica.

    Attributes:
      weights, slots: new ones.
      metrics: float32 [metrics, 2], (sum, weight) of the objective's metrics.
      tokens: of text in the global batch; padding is not counted.
      stops: how many workers were asked to stop.
      reported: {name: scalar} of the optimizer, see optimizer.REPORTED.
    """

    weights: list
    slots: Slots
    metrics: Any
    tokens: Any
    stops: Any
    reported: dict[str, Any]


def whole_step(
    pieces: Pieces,
    all_reduce: Callable[[Any], Any],
    *,
    weights: list,
    frozen: list,
    slots: Slots,
    batch: Batch,
    number: Any,
    replica: Any,
    stop: Any,
) -> StepResult:
    """One optimizer step of one replica: engines run it, and preflight lowers it.

    Args:
      pieces: of the step.
      all_reduce: the sum over replicas of nested tensors.
      stop: 1.0 where this worker was asked to stop, else 0.0.
      others: see Pieces.
    """
    totals = all_reduce(pieces.denominators(batch))
    local = pieces.gradients(weights, frozen, batch, totals, number, replica, slots.scale[0])
    gradients, metrics, tokens, stops = all_reduce((*local, stop))
    new_weights, new_slots, reported = pieces.update(weights, slots, gradients, number)
    return StepResult(new_weights, new_slots, metrics, tokens, stops, reported)


class Step:
    """What a step computes, as functions of a model's values; nothing is read from or written to a variable.

    Args:
      model: built.
      objective: what it learns.
    """

    def __init__(self, model: keras.Model, objective: Objective):
        self.model, self.objective = model, objective

    @functools.cached_property
    def weights(self) -> list[keras.Variable]:
        """Those that learn."""
        return list(self.model.trainable_variables)

    @functools.cached_property
    def frozen(self) -> list[keras.Variable]:
        """Weights that do not learn."""
        return [variable for variable in self.model.non_trainable_variables if "float" in variable.dtype]

    @functools.cached_property
    def seeds(self) -> list[keras.Variable]:
        """The states of dropout, whole numbers [2] each."""
        return [variable for variable in self.model.non_trainable_variables if "float" not in variable.dtype]

    def values(self, weights: Sequence, frozen: Sequence, seeds: Sequence = ()) -> list[tuple[keras.Variable, Any]]:
        """(variable, value) of the model's variables; where no seeds are given, dropout must be off."""
        variables = [*self.weights, *self.frozen, *(self.seeds if seeds else ())]
        return list(zip(variables, [*weights, *frozen, *seeds], strict=True))

    def sums(
        self, values: list[tuple[keras.Variable, Any]], batch: Batch, seed: Any, *, training: bool
    ) -> tuple[Sums, dict[str, Any]]:
        """The objective's sums and the model's outputs, for these values of its variables."""
        with keras.StatelessScope(state_mapping=values):
            return self.objective.sums(self.model, batch, seed, training=training)

    def loss(self, sums: Sums, totals: dict[str, Any]) -> Any:
        """The sum over losses of sum / global denominator; 0 for a loss that has none."""
        return sum(ops.divide_no_nan(sums[name][0], totals[name]) for name in self.objective.losses)

    def metrics(self, sums: Sums) -> Any:
        """float32 [metrics, 2] of (sum, weight), in the objective's order."""
        return ops.stack([ops.stack(sums[name]) for name in self.objective.metrics])

    @staticmethod
    def tokens(batch: Batch) -> Any:
        """float32: tokens of text in a batch."""
        return ops.cast(ops.sum(batch["input_mask"]), "float32")

    def updater(
        self,
        config: OptimizerConfig,
        *,
        total_steps: int,
        scaled: bool,
        rate_shares: Sequence[float] | None = None,
    ) -> Callable[[list, Slots, list, Any], tuple[list, Slots, dict[str, Any]]]:
        """The optimizer's update of this model's weights; see optimizer.update."""
        record_of = by_variable(self.model)
        found = [record_of(variable) for variable in self.weights]
        decay_mask = [record is None or record.decays for record in found]  # LoRA's own weights decay

        def update(weights, slots, gradients, number):
            return optimizer.update(
                config,
                total_steps=total_steps,
                decay_mask=decay_mask,
                weights=weights,
                slots=slots,
                gradients=gradients,
                step=number,
                scaled=scaled,
                rate_shares=rate_shares,
            )

        return update
