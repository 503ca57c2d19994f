"""A model: an encoder of some family, and the heads that read it."""

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from bert_tf.core.config import EncoderConfig
from bert_tf.models import heads as heads_lib
from bert_tf.models.family import Family, family_of

INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


class Model(keras.Model):
    """An encoder and its heads.

    Call with a dict of int32: input_word_ids, input_mask (1 for tokens) and input_type_ids, [batch, length]; or
    [batch, texts, length] for texts that belong together. Packed rows have besides position_ids, sequence_ids (1, 2,
    ... for the sequences of a row, none of which attends to another; 0 for padding) and next_sentence_positions
    [batch, sequences], where the sequences begin. Masked LM reads masked_lm_positions [batch, predictions].

    Args:
      family: of the encoder.
      config: of the network.
      encoder: called with the features, gives a dict with "sequence_output" [batch, length, hidden], "hidden_states", a
        list of it after the embeddings and each block, and, where there is a pooler, "pooled_output" [batch, hidden].
        Has `blocks` (a list of layers), `run_block` (see BertEncoder) and `token_table`, the token embeddings.
      heads: {kind: layer}; see bert_tf/models/heads.py. Without any, the model gives what the encoder gives.

    Returns:
      The heads' outputs together, {name: float32}.
    """

    def __init__(
        self,
        family: Family,
        config: EncoderConfig,
        encoder: keras.layers.Layer,
        heads: Mapping[str, keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.family, self.config = family, config
        self.encoder = encoder
        self.kinds = tuple(heads)
        self._head_layers = list(heads.values())

    @property
    def heads(self) -> dict[str, keras.layers.Layer]:
        """{kind: layer}."""
        return dict(zip(self.kinds, self._head_layers, strict=True))

    @property
    def reads_first_token_only(self) -> bool:
        """Whether no head reads any other token's output."""
        return bool(self._head_layers) and all(head.reads_first_token_only for head in self._head_layers)

    def build(self, input_shape=None):
        self.encoder.build()
        for head in self._head_layers:
            head.build()
        self.built = True

    def call(self, inputs, training=False):
        rows = _flat(inputs)
        encoded = self.encoder(rows, training=training)
        if not self._head_layers:
            return encoded
        encoded = encoded | {"token_table": self.encoder.token_table}
        outputs: dict[str, Any] = {}
        for head in self._head_layers:
            outputs |= head(encoded, inputs, training=training)
        return outputs

    def forward_flops(self, shapes: Mapping[str, tuple[int, ...]]) -> float:
        """Floating-point operations of the matrix products for a batch, {name: shape}; padding is computed too."""
        *rows, length = shapes["input_word_ids"]
        count = self.encoder.forward_flops(rows=math.prod(rows), length=length)
        return count + sum(head.forward_flops(shapes) for head in self._head_layers)


def make_model(
    config: EncoderConfig,
    heads: Mapping[str, Mapping[str, Any]],
    *,
    with_pooler: bool | None = None,
    adapter_size: int | None = None,
    dtype: Any = "float32",
) -> Model:
    """A built model with fresh weights.

    Args:
      config: of the network.
      heads: {kind: the head's settings, such as units and dropout}.
      with_pooler, adapter_size: see Family.encoder.
      dtype: Keras' name of a policy, such as mixed_bfloat16.
    """
    family = family_of(config.model_type)
    policy = keras.dtype_policies.get(dtype)
    encoder = family.encoder(
        config, heads=tuple(heads), with_pooler=with_pooler, adapter_size=adapter_size, dtype=policy
    )
    layers = {
        kind: heads_lib.COMMON[kind](dtype=policy, **settings)
        if kind in heads_lib.COMMON
        else family.head(kind, config, dtype=policy, **settings)
        for kind, settings in heads.items()
    }
    model = Model(family, config, encoder, layers, dtype=policy)
    model.build()
    return model


def _flat(inputs):
    """[batch, texts, length] -> [batch x texts, length]; [batch, length] stays."""
    if len(inputs["input_word_ids"].shape) == 2:
        return inputs
    return {name: ops.reshape(inputs[name], (-1, ops.shape(inputs[name])[-1])) for name in INPUTS}
