"""The heads that are fine-tuned on the encoder, with their losses and metrics (Devlin et al. 2018, 4 and figure 4).

Every model is called with input_word_ids, input_mask and input_type_ids, int32 [batch, length], unless it says
otherwise, and has what bert_tf.training.Trainer asks of a model; see BertForPreTraining. `label_smoothing`, float32
[batch], may be among the features of those that classify.
"""

import math

import keras
from keras import ops

from bert_tf.core.config import BertConfig
from bert_tf.models import flops
from bert_tf.models.bert.encoder import BertEncoder
from bert_tf.models.dropout import Dropout
from bert_tf.models.layers import dense
from bert_tf.objectives.losses import binary_cross_entropy, correct, cross_entropy, smoothed_cross_entropy


class HeadModel(keras.Model):
    """An encoder with dropout before a head: what the heads below share."""

    metric_names: tuple[str, ...] = ("loss",)
    reads_first_token_only = False  # of the encoder's output
    _with_pooler = True
    _loss: str  # name of the only loss

    def __init__(self, config: BertConfig, *, dropout: float = 0.1, adapter_size: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, self._with_pooler, adapter_size, dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, name="classifier_dropout", dtype=self.dtype_policy)

    def _head(self, units: int, name: str) -> keras.layers.Dense:
        return dense(self.config, units, name, self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        for name in ("classifier", "qa_outputs"):
            if hasattr(self, name):
                getattr(self, name).build((None, self.config.hidden_size))
        self.built = True

    def forward_flops(self, shapes):
        """Floating-point operations of the encoder's matrix products for a batch, {name: shape}."""
        *rows, length = shapes["input_word_ids"]
        return flops.encoder(self.config, rows=math.prod(rows), length=length)

    def loss_weights(self, batch):
        """{name: scalar}, see BertForPreTraining."""
        return {self._loss: ops.sum(batch["label_weights"])}

    def metric_sums(self, outputs, batch):
        """{name: (sum, weight)}, see BertForPreTraining: of one label for each row, or each token or choice."""
        hits = correct(outputs["logits"], batch["label_ids"]) * batch["label_weights"]
        return {"accuracy": (ops.sum(hits), ops.sum(batch["label_weights"]))}

    def derived_metrics(self, means):
        """None beside the means."""
        return {}


class BertForSequenceClassification(HeadModel):
    """Pooled output, dropout, one dense layer; for single labels, several labels at once, and numbers.

    Args:
      problem: "single_label_classification", "multi_label_classification" or "regression", as transformers names them.
      num_labels: outputs; 1 for regression.

    Features of training: label_weights float32 [batch], and label_ids int32 [batch] for single labels, label_values
    float32 [batch, num_labels] for the others.

    Returns:
      {"logits": float32 [batch, num_labels]}.
    """

    reads_first_token_only = True

    def __init__(self, config: BertConfig, *, num_labels: int, problem: str = "single_label_classification", **kwargs):
        super().__init__(config, **kwargs)
        self.problem = problem
        self.classifier = self._head(num_labels, "classifier")
        self._loss = "regression_loss" if problem == "regression" else "classification_loss"
        self.metric_names = (self._loss,) if problem == "regression" else (self._loss, "accuracy")

    def call(self, inputs, training=False):
        pooled = self.encoder(inputs, training=training)["pooled_output"]
        return {"logits": ops.cast(self.classifier(self.dropout(pooled, training=training)), "float32")}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining. Mean squared error, binary or softmax cross entropy."""
        logits = outputs["logits"]
        if self.problem == "regression":
            loss = ops.mean(ops.square(logits - batch["label_values"]), axis=-1)
        elif self.problem == "multi_label_classification":
            loss = ops.mean(binary_cross_entropy(logits, batch["label_values"]), axis=-1)
        else:
            loss = smoothed_cross_entropy(logits, batch["label_ids"], batch.get("label_smoothing"))
        return {self._loss: ops.sum(loss * batch["label_weights"])}

    def metric_sums(self, outputs, batch):
        """{name: (sum, weight)}, see BertForPreTraining. Of several labels, the share of decisions that are right."""
        if self.problem == "regression":
            return {}
        if self.problem == "single_label_classification":
            return super().metric_sums(outputs, batch)
        weights = batch["label_weights"]
        hits = ops.mean(ops.cast(ops.equal(outputs["logits"] > 0, batch["label_values"] > 0.5), "float32"), axis=-1)
        return {"accuracy": (ops.sum(hits * weights), ops.sum(weights))}


class BertForTokenClassification(HeadModel):
    """Dropout and one dense layer on every token's output (Devlin et al. 2018, 5.3).

    Features of training: label_ids int32 [batch, length] and label_weights float32 [batch, length], 0 where a token is
    not the first of a word.

    Returns:
      {"logits": float32 [batch, length, num_labels]}.
    """

    metric_names = ("tagging_loss", "accuracy")
    _loss = "tagging_loss"
    _with_pooler = False

    def __init__(self, config: BertConfig, *, num_labels: int, **kwargs):
        super().__init__(config, **kwargs)
        self.classifier = self._head(num_labels, "classifier")

    def call(self, inputs, training=False):
        sequence = self.encoder(inputs, training=training)["sequence_output"]
        return {"logits": ops.cast(self.classifier(self.dropout(sequence, training=training)), "float32")}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining."""
        smoothing = batch.get("label_smoothing")
        smoothing = None if smoothing is None else smoothing[:, None]
        loss = smoothed_cross_entropy(outputs["logits"], batch["label_ids"], smoothing)
        return {self._loss: ops.sum(loss * batch["label_weights"])}


class BertForQuestionAnswering(HeadModel):
    """A start and an end score for every token (Devlin et al. 2018, 4.2 and 4.3).

    Features of training: start_positions and end_positions int32 [batch], 0 ([CLS]) for a window without the answer,
    and label_weights float32 [batch].

    Returns:
      {"start_logits", "end_logits"}: float32 [batch, length]; padding is not left out.
    """

    metric_names = ("start_loss", "end_loss", "start_accuracy", "end_accuracy")
    _with_pooler = False

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        self.qa_outputs = self._head(2, "qa_outputs")

    def call(self, inputs, training=False):
        # Without dropout of its own, as google-research/bert and transformers have it.
        sequence = self.encoder(inputs, training=training)["sequence_output"]
        logits = ops.cast(self.qa_outputs(sequence), "float32")
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    def loss_weights(self, batch):
        """{name: scalar}, see BertForPreTraining. The mean of both losses is what google-research/bert minimizes."""
        weight = 2.0 * ops.sum(batch["label_weights"])
        return {"start_loss": weight, "end_loss": weight}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining."""
        return {
            f"{edge}_loss": ops.sum(
                cross_entropy(outputs[f"{edge}_logits"], batch[f"{edge}_positions"]) * batch["label_weights"]
            )
            for edge in ("start", "end")
        }

    def metric_sums(self, outputs, batch):
        """{name: (sum, weight)}, see BertForPreTraining."""
        weights = batch["label_weights"]
        return {
            f"{edge}_accuracy": (
                ops.sum(correct(outputs[f"{edge}_logits"], batch[f"{edge}_positions"]) * weights),
                ops.sum(weights),
            )
            for edge in ("start", "end")
        }


class BertForMultipleChoice(HeadModel):
    """One score for each of several texts, of which one is right (Devlin et al. 2018, 4.4).

    Call with int32 [batch, choices, length]. Features of training: label_ids int32 [batch], label_weights float32
    [batch]. A choice whose input_mask is all 0 is none, and is never chosen.

    Returns:
      {"logits": float32 [batch, choices]}.
    """

    metric_names = ("choice_loss", "accuracy")
    _loss = "choice_loss"
    reads_first_token_only = True

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        self.classifier = self._head(1, "classifier")

    def call(self, inputs, training=False):
        pooled = self.encoder(_flat(inputs), training=training)["pooled_output"]
        logits = ops.cast(self.classifier(self.dropout(pooled, training=training)), "float32")
        logits = ops.reshape(logits, (-1, ops.shape(inputs["input_word_ids"])[1]))
        return {"logits": ops.where(ops.max(inputs["input_mask"], axis=-1) > 0, logits, -1e9)}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining."""
        loss = cross_entropy(outputs["logits"], batch["label_ids"])
        return {self._loss: ops.sum(loss * batch["label_weights"])}


class BertForEmbedding(HeadModel):
    """One vector a text: the mean of the tokens' outputs or [CLS]'s, of length 1 if asked (Reimers and Gurevych 2019).

    Call with int32 [batch, length], or [batch, texts, length] for texts that belong together.

    Features of training: two texts; for "cosine" label_values float32 [batch], what their cosine should be, for
    "contrastive" nothing more: each first text is to find its second among those of its group (Henderson et al. 2017).
    label_weights float32 [batch].

    Returns:
      {"embedding": float32 [batch, hidden] or [batch, texts, hidden]}.
    """

    metric_names = ("embedding_loss",)
    _loss = "embedding_loss"
    _with_pooler = False

    def __init__(
        self,
        config: BertConfig,
        *,
        pooling: str = "mean",
        normalize: bool = True,
        loss: str = "contrastive",
        group: int = 16,
        scale: float = 20.0,
        with_pooler: bool = False,
        **kwargs,
    ):
        self._with_pooler = with_pooler  # what was loaded with one is saved with one, though it is not used
        super().__init__(config, **kwargs)
        self.pooling, self.normalize, self.loss_name, self.group, self.scale = pooling, normalize, loss, group, scale
        self.reads_first_token_only = pooling == "cls"

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.encoder.pooler is not None:
            self.encoder.pooler.trainable = False

    def call(self, inputs, training=False):
        rows = _flat(inputs)
        sequence = ops.cast(self.encoder(rows, training=training)["sequence_output"], "float32")
        if self.pooling == "cls":
            embedding = sequence[:, 0]
        else:
            mask = ops.cast(rows["input_mask"], "float32")[..., None]
            embedding = ops.sum(sequence * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
        if self.normalize:
            embedding = embedding / ops.maximum(ops.norm(embedding, axis=-1, keepdims=True), 1e-12)
        if len(inputs["input_word_ids"].shape) == 3:
            texts = ops.shape(inputs["input_word_ids"])[1]
            embedding = ops.reshape(embedding, (-1, texts, self.config.hidden_size))
        return {"embedding": embedding}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining."""
        first, second = outputs["embedding"][:, 0], outputs["embedding"][:, 1]
        lengths = ops.norm(first, axis=-1) * ops.norm(second, axis=-1)
        if self.loss_name == "cosine":
            cosine = ops.sum(first * second, axis=-1) / ops.maximum(lengths, 1e-12)
            loss = ops.square(cosine - batch["label_values"])
            return {self._loss: ops.sum(loss * batch["label_weights"])}
        first, second = (x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12) for x in (first, second))
        groups = (-1, self.group, self.config.hidden_size)
        scores = ops.matmul(ops.reshape(first, groups), ops.transpose(ops.reshape(second, groups), (0, 2, 1)))
        # What fills up the last batch of an evaluation is nobody's choice.
        is_real = ops.reshape(batch["label_weights"], (-1, 1, self.group)) > 0
        scores = ops.where(is_real, self.scale * scores, -1e9)
        answers = ops.broadcast_to(ops.arange(self.group, dtype="int32")[None], ops.shape(scores)[:2])
        loss = ops.reshape(cross_entropy(scores, answers), (-1,))
        return {self._loss: ops.sum(loss * batch["label_weights"])}

    def metric_sums(self, outputs, batch):
        """None beside the loss."""
        return {}


def _flat(inputs):
    """[batch, texts, length] -> [batch x texts, length]; [batch, length] stays."""
    names = ("input_word_ids", "input_mask", "input_type_ids")
    if len(inputs["input_word_ids"].shape) == 2:
        return {name: inputs[name] for name in names}
    return {name: ops.reshape(inputs[name], (-1, ops.shape(inputs[name])[-1])) for name in names}
