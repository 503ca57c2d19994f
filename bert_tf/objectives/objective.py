"""The interface of an objective: what a model learns from a batch; and the table of those that pretrain.

Everything is written in keras.ops, so that every engine differentiates and compiles it. The training step calls
`denominators` and `sums`; it knows nothing else of an objective.

Example, a model that learns to give 0:
  class Zero:
      name, losses, metrics = "zero", ("zero_loss",), ("zero_loss",)

      def denominators(self, batch):
          return {"zero_loss": ops.sum(batch["label_weights"])}

      def sums(self, model, batch, seed, *, training):
          outputs = model(batch, training=training)
          loss = ops.sum(ops.square(outputs["logits"][:, 0]) * batch["label_weights"])
          return {"zero_loss": (loss, ops.sum(batch["label_weights"]))}, outputs

      def derived(self, means):
          return {}
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras

from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError
from bert_tf.core.records import RecordLayout
from bert_tf.models.family import loaded

# A config's `objective` -> module:class of a PretrainingObjective, made from the layout of the shards.
OBJECTIVES: dict[str, str] = {
    "masked_lm": "bert_tf.objectives.masked_lm:MaskedLM",
}

Batch = Mapping[str, Any]  # {feature: tensor [rows, ...]}
Sums = dict[str, tuple[Any, Any]]  # {metric: (weighted sum, weight)}, scalars


class Objective(Protocol):
    """What a step minimizes and reports.

    Attributes:
      losses: names of the metrics whose means are added up and minimized.
      metrics: names of all sums, in the order in which they are reported; the losses among them.
    """

    @property
    def losses(self) -> Sequence[str]: ...

    @property
    def metrics(self) -> Sequence[str]: ...

    def denominators(self, batch: Batch) -> dict[str, Any]:
        """What each loss is divided by, from the data alone: {loss: scalar}, to be summed over replicas."""

    def sums(self, model: keras.Model, batch: Batch, seed: Any, *, training: bool) -> tuple[Sums, dict[str, Any]]:
        """Weighted sums of losses and other metrics, and the model's outputs.

        The loss of a step is the sum over losses of sum / denominator.

        Args:
          model: to be called; its weights are those of the step.
          batch: features, labels and weights.
          seed: int32 [2] of this step, microbatch and replica, for objectives that sample.
          training: whether dropout is on.
        """

    def derived(self, means: Mapping[str, float]) -> dict[str, float]:
        """What follows from the means of losses and metrics, such as a perplexity."""


class PretrainingObjective(Objective, Protocol):
    """An objective that learns from shards. Its class takes the shards' RecordLayout."""

    def __init__(self, layout: RecordLayout): ...

    def features(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """{name: (shape of a row, dtype)} of what it reads of a batch."""

    def make_model(self, config: EncoderConfig, dtype: str) -> keras.Model:
        """The built model that it trains."""

    def saved(self, model: keras.Model) -> dict[str, keras.Model]:
        """{folder in the workdir: what is saved there}, "model" among them."""


def objective_named(name: str, layout: RecordLayout) -> PretrainingObjective:
    """An objective of the table for shards of a layout.

    Raises:
      InputError: there is none of this name.
    """
    if name not in OBJECTIVES:
        raise InputError(f"objective={name}: expected one of {', '.join(OBJECTIVES)}.")
    return loaded(OBJECTIVES[name])(layout)
