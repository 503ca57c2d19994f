"""BERT's heads (Devlin et al. 2018, 3.1, 4 and figure 4), by the kinds of bert_tf/models/heads.py."""

import keras
from keras import ops

from bert_tf.models.bert.config import BertConfig
from bert_tf.models.dropout import Dropout
from bert_tf.models.heads import Head, by_choice, by_edge, by_text
from bert_tf.models.layers import activation, dense, gather_positions, initializer, layer_norm


class _DenseHead(keras.layers.Dense, Head):
    """A dense layer behind dropout."""

    def __init__(self, config: BertConfig, *, units: int, dropout: float, name: str, **kwargs):
        before = Dropout(dropout, name="classifier_dropout", dtype=kwargs.get("dtype"))
        super().__init__(units, kernel_initializer=initializer(config), name=name, **kwargs)
        self.config, self.dropout = config, before

    def build(self, input_shape=None):
        super().build((None, self.config.hidden_size))
        self.input_spec = None  # of one tensor, and a head is called with dicts

    def _logits(self, x, training):
        return ops.cast(super().call(self.dropout(x, training=training)), "float32")


class SequenceHead(_DenseHead):
    """Pooled output, dropout, one dense layer."""

    reads_first_token_only = True

    def __init__(self, config: BertConfig, *, units: int, dropout: float = 0.1, **kwargs):
        super().__init__(config, units=units, dropout=dropout, name="classifier", **kwargs)

    def call(self, encoded, inputs, training=False):
        return {"logits": by_text(self._logits(encoded["pooled_output"], training), inputs)}


class ChoicesHead(SequenceHead):
    """The same with one number a choice."""

    def __init__(self, config: BertConfig, *, dropout: float = 0.1, **kwargs):
        super().__init__(config, units=1, dropout=dropout, **kwargs)

    def call(self, encoded, inputs, training=False):
        return by_choice(self._logits(encoded["pooled_output"], training), inputs)


class TokensHead(_DenseHead):
    """Dropout and one dense layer on every token's output."""

    def __init__(self, config: BertConfig, *, units: int, dropout: float = 0.1, **kwargs):
        super().__init__(config, units=units, dropout=dropout, name="classifier", **kwargs)

    def call(self, encoded, inputs, training=False):
        return {"logits": self._logits(encoded["sequence_output"], training)}


class SpansHead(_DenseHead):
    """A start and an end score for every token, without dropout, as google-research/bert and transformers have it."""

    def __init__(self, config: BertConfig, *, dropout: float = 0.0, **kwargs):
        super().__init__(config, units=2, dropout=0.0, name="qa_outputs", **kwargs)

    def call(self, encoded, inputs, training=False):
        return by_edge(self._logits(encoded["sequence_output"], training))


class PairHead(_DenseHead):
    """Whether the second segment follows the first: 0 for next, 1 for random or swapped."""

    reads_first_token_only = True

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, units=2, dropout=0.0, name="next_sentence", **kwargs)

    def call(self, encoded, inputs, training=False):
        return {"next_sentence_logits": self._logits(encoded["pooled_output"], training)}


class MaskedLMHead(Head):
    """Dense, GELU, LayerNorm, then the word embeddings as output matrix, plus a bias.

    Only the masked positions reach the output matrix, which is most of a small model's work.
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**{"name": "masked_lm", **kwargs})
        self.config = config
        self.transform = dense(config, config.hidden_size, "transform", self.dtype_policy)
        self.transform_norm = layer_norm(config, "transform_norm", self.dtype_policy)

    def build(self, input_shape=None):
        self.transform.build((None, None, self.config.hidden_size))
        self.transform_norm.build((None, None, self.config.hidden_size))
        self.bias = self.add_weight(shape=(self.config.vocab_size,), initializer="zeros", name="output_bias")

    def call(self, encoded, inputs, training=False):
        x = gather_positions(encoded["sequence_output"], inputs["masked_lm_positions"])  # [batch, predictions, hidden]
        x = self.transform_norm(activation(self.config, self.transform(x)))
        table = ops.transpose(ops.cast(encoded["token_table"], self.compute_dtype))
        logits = ops.cast(ops.matmul(x, table), "float32") + ops.cast(self.bias, "float32")
        return {"masked_lm_logits": logits}

    def forward_flops(self, shapes) -> float:
        """Transform and output matrix for the predictions of all rows together."""
        rows, predictions = shapes["masked_lm_positions"]
        width, words = self.config.hidden_size, self.config.vocab_size or 0
        return 2.0 * rows * predictions * width * (width + words)


HEADS = {
    "sequence": SequenceHead,
    "tokens": TokensHead,
    "spans": SpansHead,
    "choices": ChoicesHead,
    "masked_lm": MaskedLMHead,
    "pair": PairHead,
}
