"""The BERT encoder."""

import keras
from keras import ops

from bert_tf.models.bert.config import BertConfig
from bert_tf.models.layers import Embeddings, TransformerBlock, dense, gather_positions


class BertEncoder(keras.layers.Layer):
    """Embeddings, transformer blocks and the pooler (Devlin et al. 2018).

    Args:
      config: the network's sizes.
      with_pooler: leave it out for heads that do not use the pooled output.
      adapter_size: width of adapters in every block; None for none.

    Call with a dict of int32 [batch, length]: input_word_ids, input_mask (1 for tokens), input_type_ids. Packed rows
    have besides: position_ids, sequence_ids (1, 2, ... for the sequences of a row, none of which attends to another; 0
    for padding) and next_sentence_positions [batch, sequences], where the sequences begin.

    Returns:
      {"sequence_output": [batch, length, hidden], "pooled_output": [batch, hidden]}, [batch, sequences, hidden] of
      packed rows; the second only with the pooler. And "hidden_states", a list of [batch, length, hidden]: of the
      embeddings, then of each block, the last of which is the sequence_output.
    """

    def __init__(self, config: BertConfig, with_pooler: bool = True, adapter_size: int | None = None, **kwargs):
        super().__init__(**{"name": "bert", **kwargs})
        self.config = config
        policy = self.dtype_policy
        self.embeddings = Embeddings(config, name="embeddings", dtype=policy)
        self.blocks = [
            TransformerBlock(config, adapter_size, name=f"layer_{i}", dtype=policy)
            for i in range(config.num_hidden_layers)
        ]
        self.pooler = dense(config, config.hidden_size, "pooler", policy) if with_pooler else None

    def build(self, input_shape=None):
        width = self.config.hidden_size
        self.embeddings.build((None, None))
        for block in self.blocks:
            block.build((None, None, width))
        if self.pooler is not None:
            self.pooler.build((None, width))

    def call(self, inputs, training=False):
        x = self.embeddings(
            inputs["input_word_ids"], inputs["input_type_ids"], inputs.get("position_ids"), training=training
        )
        visible = _visible(inputs["input_mask"], inputs.get("sequence_ids"))
        states = [x]
        for block in self.blocks:
            x = self.run_block(block, x, visible, training)
            states.append(x)
        outputs = {"sequence_output": x, "hidden_states": states}
        if self.pooler is not None:
            positions = inputs.get("next_sentence_positions")
            first = x[:, 0] if positions is None else gather_positions(x, positions)
            outputs["pooled_output"] = ops.tanh(self.pooler(first))
        return outputs

    def run_block(self, block, x, visible, training):
        """What the encoder calls each block through; training may put something else here."""
        return block(x, visible, training=training)

    @property
    def token_table(self):
        """The token embeddings, [vocab, hidden]."""
        return self.embeddings.word_embeddings

    def forward_flops(self, *, rows: int, length: int) -> float:
        """Of all blocks: 2 n m k for [n, k] times [k, m]."""
        config, positions = self.config, rows * length
        width, inner = config.hidden_size, config.intermediate_size
        projections = 2 * positions * (4 * width * width + 2 * width * inner)
        attention = 2 * 2 * positions * length * width  # scores, and the weighted sum of values
        return float(config.num_hidden_layers * (projections + attention))


def _visible(input_mask, sequence_ids):
    """Which positions each position attends to, bool [batch, 1, length or 1, length].

    Bool, since Keras turns floats into the layers' narrow type, where a large number may be infinite.
    """
    visible = ops.cast(input_mask, "bool")[:, None, None, :]
    if sequence_ids is None:
        return visible
    return ops.logical_and(visible, ops.equal(sequence_ids[:, :, None], sequence_ids[:, None, :])[:, None])
