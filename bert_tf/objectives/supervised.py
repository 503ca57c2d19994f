"""What heads learn from labelled examples (Devlin et al. 2018, 4 and figure 4).

Every batch has label_weights, float32 [rows, ...]. A weight of 0 excludes a row or token from the loss. Batches of
tasks with one class per row or token may also have label_smoothing, float32 [batch].

The divisor of every loss is the sum of label_weights. It depends on the data alone, so a step is the same on any number
of replicas.
"""

import copy
from collections.abc import Sequence

from keras import ops

from bert_tf.objectives.losses import (
    binary_cross_entropy,
    correct,
    cross_entropy,
    focal_cross_entropy,
    smoothed_cross_entropy,
)


class Supervised:
    """One loss, divided by the weights of the labels. See bert_tf.objectives.objective.Objective.

    Args:
      loss: its name.
      has_accuracy: whether `hits` says what is right.
      pooling: mean or max, where an example is several windows, [batch, windows, length]: the loss is one of the mean
        or maximum of their logits. None where it is one row.
    """

    focal_gamma = 0.0

    def __init__(self, loss: str, *, has_accuracy: bool = True, pooling: str | None = None):
        self.losses = (loss,)
        self.metrics = (loss, "accuracy") if has_accuracy else (loss,)
        self.pooling = pooling

    def focal(self, gamma: float):
        """The objective, trained with a focal loss (Lin et al. 2017): the loss times (1 - p of the label)^gamma."""
        made = copy.copy(self)
        made.focal_gamma = gamma
        return made

    def denominators(self, batch):
        return dict.fromkeys(self.losses, ops.sum(batch["label_weights"]))

    def sums(self, model, batch, seed, *, training):
        outputs = model(batch, training=training)
        weights, total = batch["label_weights"], ops.sum(batch["label_weights"])
        read = (
            outputs if self.pooling is None else {**outputs, "logits": _pooled(outputs["logits"], batch, self.pooling)}
        )
        loss = self.training_loss if training else self.loss
        found = {self.losses[0]: (ops.sum(loss(read, batch) * weights), total)}
        if "accuracy" in self.metrics:
            found["accuracy"] = (ops.sum(self.hits(read, batch) * weights), total)
        return found, outputs

    def derived(self, means):
        return {}

    def loss(self, outputs, batch):
        """float32 of the shape of label_weights: cross entropy of one class for each row, token or choice."""
        smoothing = batch.get("label_smoothing")
        if smoothing is not None and len(batch["label_ids"].shape) == 2:
            smoothing = smoothing[:, None]
        return smoothed_cross_entropy(outputs["logits"], batch["label_ids"], smoothing)

    def training_loss(self, outputs, batch):
        """The loss in training, of the same shape; evaluations report `loss`, without focus and weights of labels."""
        if self.focal_gamma:
            return focal_cross_entropy(outputs["logits"], batch["label_ids"], self.focal_gamma)
        return self.loss(outputs, batch)

    def hits(self, outputs, batch):
        """float32 of the shape of label_weights: 1 where the largest logit is the label's."""
        return correct(outputs["logits"], batch["label_ids"])


class SeveralLabels(Supervised):
    """label_values float32 [batch, labels], 1 where a label is given: binary cross entropy, the share of decisions."""

    positive_weights: tuple[float, ...] | None = None

    def weighing_positives(self, weights: Sequence[float]):
        """The same objective, trained with the loss of a label's positive examples times its weight, [labels]."""
        made = copy.copy(self)
        made.positive_weights = tuple(weights)
        return made

    def loss(self, outputs, batch):
        return ops.mean(binary_cross_entropy(outputs["logits"], batch["label_values"]), axis=-1)

    def training_loss(self, outputs, batch):
        weights = 1.0 if self.positive_weights is None else ops.convert_to_tensor(self.positive_weights, "float32")
        each = binary_cross_entropy(outputs["logits"], batch["label_values"], weights, self.focal_gamma)
        return ops.mean(each, axis=-1)

    def hits(self, outputs, batch):
        return ops.mean(ops.cast(ops.equal(outputs["logits"] > 0, batch["label_values"] > 0.5), "float32"), axis=-1)


class SquaredError(Supervised):
    """label_values float32 [batch, numbers]: mean squared error."""

    def __init__(self, loss: str, *, pooling: str | None = None):
        super().__init__(loss, has_accuracy=False, pooling=pooling)

    def loss(self, outputs, batch):
        return ops.mean(ops.square(outputs["logits"] - batch["label_values"]), axis=-1)


class Spans:
    """start_positions and end_positions int32 [batch], 0 ([CLS]) for a window without the answer: cross entropy of both
    (Devlin et al. 2018, 4.2 and 4.3)."""

    _EDGES = ("start", "end")
    losses = ("start_loss", "end_loss")
    metrics = (*losses, "start_accuracy", "end_accuracy")

    def denominators(self, batch):
        # The mean of both losses is what google-research/bert minimizes.
        return dict.fromkeys(self.losses, 2.0 * ops.sum(batch["label_weights"]))

    def sums(self, model, batch, seed, *, training):
        outputs = model(batch, training=training)
        weights, found = batch["label_weights"], {}
        for edge in self._EDGES:
            logits, labels = outputs[f"{edge}_logits"], batch[f"{edge}_positions"]
            found[f"{edge}_loss"] = (ops.sum(cross_entropy(logits, labels) * weights), 2.0 * ops.sum(weights))
            found[f"{edge}_accuracy"] = (ops.sum(correct(logits, labels) * weights), ops.sum(weights))
        return found, outputs

    def derived(self, means):
        return {}


class Cosine(Supervised):
    """Two texts a row, and label_values float32 [batch], what the cosine of their embeddings should be."""

    def __init__(self):
        super().__init__("embedding_loss", has_accuracy=False)

    def loss(self, outputs, batch):
        first, second = outputs["embedding"][:, 0], outputs["embedding"][:, 1]
        lengths = ops.norm(first, axis=-1) * ops.norm(second, axis=-1)
        cosine = ops.sum(first * second, axis=-1) / ops.maximum(lengths, 1e-12)
        return ops.square(cosine - batch["label_values"])


class Contrastive(Supervised):
    """Two texts a row: each first text is to find its second among those of its group (Henderson et al. 2017).

    Args:
      group: number of rows that are compared with each other.
      scale: what cosines are multiplied by before the softmax.
    """

    def __init__(self, *, group: int, scale: float):
        super().__init__("embedding_loss", has_accuracy=False)
        self.group, self.scale = group, scale

    def loss(self, outputs, batch):
        parts = (outputs["embedding"][:, 0], outputs["embedding"][:, 1])
        first, second = (x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12) for x in parts)
        groups = (-1, self.group, first.shape[-1])
        scores = ops.matmul(ops.reshape(first, groups), ops.transpose(ops.reshape(second, groups), (0, 2, 1)))
        # What fills up the last batch of an evaluation is nobody's choice.
        is_real = ops.reshape(batch["label_weights"], (-1, 1, self.group)) > 0
        scores = ops.where(is_real, self.scale * scores, -1e9)
        answers = ops.broadcast_to(ops.arange(self.group, dtype="int32")[None], ops.shape(scores)[:2])
        return ops.reshape(cross_entropy(scores, answers), (-1,))


def _pooled(logits, batch, pooling: str):
    """float32 [batch, windows, units] -> [batch, units] over the windows that hold tokens."""
    is_window = (ops.max(batch["input_mask"], axis=-1) > 0)[..., None]
    if pooling == "max":
        return ops.max(ops.where(is_window, logits, -1e9), axis=1)
    total = ops.sum(ops.where(is_window, logits, 0.0), axis=1)
    return total / ops.maximum(ops.sum(ops.cast(is_window, "float32"), axis=1), 1.0)
