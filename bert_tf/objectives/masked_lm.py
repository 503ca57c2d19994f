"""BERT with its two pretraining heads, their losses and metrics (Devlin et al. 2018, 3.1 and A.2)."""

import keras
from keras import ops

from bert_tf.core.config import BertConfig
from bert_tf.models import flops
from bert_tf.models.bert.encoder import BertEncoder
from bert_tf.models.layers import activation, dense, gather_positions, layer_norm
from bert_tf.objectives.losses import correct, cross_entropy


class MaskedLMHead(keras.layers.Layer):
    """Dense, GELU, LayerNorm, then the word embeddings as output matrix, with a bias of its own."""

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.transform = dense(config, config.hidden_size, "transform", self.dtype_policy)
        self.transform_norm = layer_norm(config, "transform_norm", self.dtype_policy)

    def build(self, input_shape=None):
        self.transform.build((None, None, self.config.hidden_size))
        self.transform_norm.build((None, None, self.config.hidden_size))
        self.bias = self.add_weight(shape=(self.config.vocab_size,), initializer="zeros", name="output_bias")

    def call(self, sequence_output, positions, word_embeddings):
        """[batch, length, hidden], int32 [batch, predictions], [vocab, hidden] -> float32 [batch, predictions, vocab].

        Only the masked positions reach the output matrix, which is most of a small model's work.
        """
        x = gather_positions(sequence_output, positions)  # [batch, predictions, hidden]
        x = self.transform_norm(activation(self.config, self.transform(x)))
        table = ops.transpose(ops.cast(word_embeddings, self.compute_dtype))
        return ops.cast(ops.matmul(x, table), "float32") + ops.cast(self.bias, "float32")


class BertForPreTraining(keras.Model):
    """Masked LM and next sentence.

    Call with the features of a record (bert_tf/core/records.py).

    Returns:
      {"masked_lm_logits": float32 [batch, predictions, vocab], "next_sentence_logits": float32 [batch, 2]}, of packed
      rows [batch, sequences, 2].
    """

    metric_names = ("masked_lm_loss", "next_sentence_loss", "masked_lm_accuracy", "next_sentence_accuracy")

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, dtype=self.dtype_policy)
        self.masked_lm = MaskedLMHead(config, name="masked_lm", dtype=self.dtype_policy)
        self.next_sentence = dense(config, 2, "next_sentence", self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        self.masked_lm.build()
        self.next_sentence.build((None, self.config.hidden_size))
        self.built = True

    def call(self, inputs, training=False):
        encoded = self.encoder(inputs, training=training)
        return {
            "masked_lm_logits": self.masked_lm(
                encoded["sequence_output"],
                inputs["masked_lm_positions"],
                self.encoder.embeddings.word_embeddings,
            ),
            "next_sentence_logits": ops.cast(self.next_sentence(encoded["pooled_output"]), "float32"),
        }

    def forward_flops(self, shapes):
        """Floating-point operations of the matrix products for a batch, {name: shape}."""
        rows, length = shapes["input_word_ids"]
        predictions = rows * shapes["masked_lm_positions"][1]
        return flops.encoder(self.config, rows=rows, length=length) + flops.masked_lm_head(
            self.config, predictions=predictions
        )

    def derived_metrics(self, means):
        """{name: number} of what follows from the means of losses and metrics."""
        return {"perplexity": float(ops.exp(means["masked_lm_loss"]))} if "masked_lm_loss" in means else {}

    def loss_weights(self, batch):
        """What each loss is divided by, from the data alone: {name: scalar}, to be summed over replicas."""
        return {
            "masked_lm_loss": ops.sum(batch["masked_lm_weights"]),
            "next_sentence_loss": ops.sum(batch["next_sentence_weights"]),
        }

    def loss_sums(self, outputs, batch):
        """Weighted sums of the losses: {name: scalar}. The loss of a step is the sum of sum / weight."""
        masked_lm = cross_entropy(outputs["masked_lm_logits"], batch["masked_lm_ids"])
        next_sentence = cross_entropy(_by_sequence(outputs["next_sentence_logits"]), batch["next_sentence_labels"])
        return {
            "masked_lm_loss": ops.sum(masked_lm * batch["masked_lm_weights"]),
            "next_sentence_loss": ops.sum(next_sentence * batch["next_sentence_weights"]),
        }

    def metric_sums(self, outputs, batch):
        """{name: (weighted sum, weight)} of what else is worth knowing."""
        masked_lm = correct(outputs["masked_lm_logits"], batch["masked_lm_ids"])
        next_sentence = correct(_by_sequence(outputs["next_sentence_logits"]), batch["next_sentence_labels"])
        weights = self.loss_weights(batch)
        return {
            "masked_lm_accuracy": (
                ops.sum(masked_lm * batch["masked_lm_weights"]),
                weights["masked_lm_loss"],
            ),
            "next_sentence_accuracy": (
                ops.sum(next_sentence * batch["next_sentence_weights"]),
                weights["next_sentence_loss"],
            ),
        }


def _by_sequence(logits):
    """[batch, 2] of rows that are not packed -> [batch, 1, 2]; [batch, sequences, 2] stays."""
    return logits[:, None] if len(logits.shape) == 2 else logits


class BertForMaskedLM(keras.Model):
    """An encoder without pooler, and the masked-LM head: to answer with, and to pass on.

    Call with input_word_ids, input_mask and input_type_ids, int32 [batch, length], and masked_lm_positions int32
    [batch, predictions].

    Returns:
      {"masked_lm_logits": float32 [batch, predictions, vocab]}.
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, with_pooler=False, dtype=self.dtype_policy)
        self.masked_lm = MaskedLMHead(config, name="masked_lm", dtype=self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        self.masked_lm.build()
        self.built = True

    def call(self, inputs, training=False):
        sequence = self.encoder(inputs, training=training)["sequence_output"]
        table = self.encoder.embeddings.word_embeddings
        return {"masked_lm_logits": self.masked_lm(sequence, inputs["masked_lm_positions"], table)}


class BertForNextSentencePrediction(keras.Model):
    """An encoder and the next-sentence head: to answer with, and to pass on.

    Call with input_word_ids, input_mask and input_type_ids, int32 [batch, length].

    Returns:
      {"next_sentence_logits": float32 [batch, 2]}, 0 for the next sentence and 1 for another one.
    """

    reads_first_token_only = True

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, dtype=self.dtype_policy)
        self.next_sentence = dense(config, 2, "next_sentence", self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        self.next_sentence.build((None, self.config.hidden_size))
        self.built = True

    def call(self, inputs, training=False):
        pooled = self.encoder(inputs, training=training)["pooled_output"]
        return {"next_sentence_logits": ops.cast(self.next_sentence(pooled), "float32")}


class BertModel(keras.Model):
    """The encoder alone, as a model; see BertEncoder."""

    def __init__(self, config: BertConfig, *, with_pooler: bool = True, adapter_size: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, with_pooler, adapter_size, dtype=self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        self.built = True

    def call(self, inputs, training=False):
        return self.encoder(inputs, training=training)
