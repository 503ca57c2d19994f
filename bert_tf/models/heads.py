"""Kinds of head, what each gives, and the one head that is the same for every family.

A head is a layer: head(encoded, inputs, training) -> {name: float32}. `encoded` is what the encoder gives, with
"token_table" [vocab, width]; `inputs` is what the model was called with. It has `reads_first_token_only`, whether it
reads no other token's output, and forward_flops(shapes).

  sequence   {"logits": [batch, units]}: one dense layer, or what the family has, on the whole text; or [batch, texts,
             units] of inputs [batch, texts, length], see by_text
  tokens     {"logits": [batch, length, units]}
  spans      {"start_logits", "end_logits": [batch, length]}; padding is not left out
  choices    {"logits": [batch, choices]}, of inputs [batch, choices, length]; a choice without tokens has -1e9
  masked_lm  {"masked_lm_logits": [batch, predictions, vocab]}
  pair       {"next_sentence_logits": [batch, 2]}, of packed rows [batch, sequences, 2]
  embedding  {"embedding": [batch, hidden]}, or [batch, texts, hidden] of inputs [batch, texts, length]
"""

import keras
from keras import ops

KINDS = ("sequence", "tokens", "spans", "choices", "masked_lm", "pair", "embedding")


class Head(keras.layers.Layer):
    """What heads say of themselves unless they know better; also mixed into layers of Keras."""

    reads_first_token_only = False

    def forward_flops(self, shapes) -> float:
        """Floating-point operations of the matrix products; nothing to speak of beside an encoder's."""
        return 0.0


def by_choice(logits, inputs):
    """[batch x choices, 1] -> {"logits": [batch, choices]}."""
    logits = ops.reshape(ops.cast(logits, "float32"), (-1, ops.shape(inputs["input_word_ids"])[1]))
    return {"logits": ops.where(ops.max(inputs["input_mask"], axis=-1) > 0, logits, -1e9)}


def by_text(values, inputs):
    """[batch x texts, n] -> [batch, texts, n], of inputs [batch, texts, length]; of others they stay as they are."""
    if len(inputs["input_word_ids"].shape) == 2:
        return values
    return ops.reshape(values, (-1, ops.shape(inputs["input_word_ids"])[1], values.shape[-1]))


def by_edge(logits):
    """[batch, length, 2] -> {"start_logits", "end_logits": [batch, length]}."""
    logits = ops.cast(logits, "float32")
    return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}


class TextEmbedding(Head):
    """A text's vector: the mean of the tokens' outputs or [CLS]'s, of length 1 if asked (Reimers and Gurevych 2019)."""

    def __init__(self, *, pooling: str = "mean", normalize: bool = True, **kwargs):
        super().__init__(**{"name": "embedding", **kwargs})
        self.pooling, self.normalize = pooling, normalize
        self.reads_first_token_only = pooling == "cls"

    def build(self, input_shape=None):
        self.built = True

    def call(self, encoded, inputs, training=False):
        sequence = ops.cast(encoded["sequence_output"], "float32")
        if self.pooling == "cls":
            embedding = sequence[:, 0]
        else:
            mask = ops.reshape(inputs["input_mask"], (-1, ops.shape(inputs["input_mask"])[-1], 1))
            mask = ops.cast(mask, "float32")
            embedding = ops.sum(sequence * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
        if self.normalize:
            embedding = embedding / ops.maximum(ops.norm(embedding, axis=-1, keepdims=True), 1e-12)
        return {"embedding": by_text(embedding, inputs)}


COMMON = {"embedding": TextEmbedding}
