"""Layers that families share, in keras.ops only, hence for every Keras backend and compiler.

`config` is a family's, with the field names of BertConfig.
"""

from typing import Any

import keras
from keras import ops

from bert_tf.models.compiled import is_compiled
from bert_tf.models.dropout import Dropout


def activation(config: Any, x):
    """GELU in the form that the config names: erf ("gelu") or tanh ("gelu_new", google-research/bert)."""
    return keras.activations.gelu(x, approximate=config.hidden_act == "gelu_new")


def dense(config: Any, units: int, name: str, dtype) -> keras.layers.Dense:
    """A Dense layer with BERT's initializer."""
    return keras.layers.Dense(units, kernel_initializer=initializer(config), name=name, dtype=dtype)


def layer_norm(config: Any, name: str, dtype) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name=name, dtype=dtype)


def initializer(config: Any) -> keras.initializers.Initializer:
    # A new object each time: a Keras initializer with a fixed seed gives every weight the same values.
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


def gather_positions(sequence, positions):
    """[batch, length, hidden] and int32 [batch, n] -> [batch, n, hidden]."""
    batch, length, width = ops.shape(sequence)
    rows = positions + ops.arange(batch, dtype="int32")[:, None] * length
    return ops.take(ops.reshape(sequence, (-1, width)), rows, axis=0)


class Embeddings(keras.layers.Layer):
    """Sum of word, position and segment embeddings, LayerNorm, dropout (Devlin et al. 2018, figure 2)."""

    def __init__(self, config: Any, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.layer_norm = layer_norm(config, "layer_norm", self.dtype_policy)
        self.dropout = Dropout(config.hidden_dropout_prob, name="dropout", dtype=self.dtype_policy)

    def build(self, input_shape):
        width = self.config.hidden_size
        for name, rows in (
            ("word_embeddings", self.config.vocab_size),
            ("position_embeddings", self.config.max_position_embeddings),
            ("token_type_embeddings", self.config.type_vocab_size),
        ):
            table = self.add_weight(shape=(rows, width), initializer=initializer(self.config), name=name)
            setattr(self, name, table)
        self.layer_norm.build((*input_shape, width))

    def call(self, word_ids, type_ids, position_ids=None, training=False):
        """int32 [batch, length] each -> [batch, length, hidden]. Positions count from 0 in every row unless given."""
        length = ops.shape(word_ids)[1]
        x = ops.take(self.word_embeddings, word_ids, axis=0)
        x += ops.take(self.token_type_embeddings, type_ids, axis=0)
        if position_ids is None:
            x += ops.convert_to_tensor(self.position_embeddings)[:length]
        else:
            x += ops.take(self.position_embeddings, position_ids, axis=0)
        return self.dropout(self.layer_norm(x), training=training)


def _product(subscripts: str, x, y):
    """An einsum that XLA sees as one product, whose layouts it chooses.

    Without a keyword Keras makes matrix products and transposes of it, which XLA copies.
    """
    return ops.einsum(subscripts, x, y, optimize="optimal")


def _softmax(scores, visible):
    """Over what is visible, in float32, in the type of the scores."""
    # A large finite number rather than -inf: a position that sees none then gives numbers, not NaN.
    scores, dtype = ops.where(visible, ops.cast(scores, "float32"), -1e9), scores.dtype
    return ops.cast(ops.softmax(scores, axis=-1), dtype)


def softmax_by_sum(scores, visible):
    """The same where nothing is fused: a sum goes into its argument's memory, a choice into its own."""
    scores, dtype = ops.cast(scores, "float32") + ops.where(visible, 0.0, -1e9), scores.dtype
    return ops.cast(ops.softmax(scores, axis=-1), dtype)


def _softmax_with_narrow_memory(scores, visible):
    """The same, keeping for the backward pass what it gives, not its float32: half the bytes, read four times."""

    @ops.custom_gradient
    def softmax(scores):
        weights = _softmax(scores, visible)

        def gradient(*arguments, upstream=None):
            upstream = ops.cast(arguments[0] if upstream is None else upstream, "float32")
            wide = ops.cast(weights, "float32")
            return ops.cast(wide * (upstream - ops.sum(upstream * wide, axis=-1, keepdims=True)), scores.dtype)

        return weights, gradient

    return softmax(scores)


class SelfAttention(keras.layers.Layer):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, 3.2), softmax in float32."""

    def __init__(self, config: Any, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        width, policy = config.hidden_size, self.dtype_policy
        self.query = dense(config, width, "query", policy)
        self.key = dense(config, width, "key", policy)
        self.value = dense(config, width, "value", policy)
        self.output_dense = dense(config, width, "output", policy)
        self.dropout = Dropout(config.attention_probs_dropout_prob, name="dropout", dtype=policy)

    def build(self, input_shape):
        for layer in (self.query, self.key, self.value, self.output_dense):
            layer.build(input_shape)

    def call(self, x, visible, training=False):
        """[batch, length, hidden] and bool [batch, 1, 1 or length, length] -> [batch, length, hidden]."""
        attend = self._by_einsum if is_compiled() else self._by_wide_products
        return attend(x, visible, training)

    def _by_wide_products(self, x, visible, training):
        """For processors, which reach their speed on wide matrices only."""
        heads, size = self.config.num_attention_heads, self.config.hidden_size // self.config.num_attention_heads
        batch, length = ops.shape(x)[0], ops.shape(x)[1]
        projected = ops.reshape(self.project(x), (batch, length, 3, heads, size))
        query, key, value = ops.unstack(ops.transpose(projected, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(query * size**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        weights = self.dropout(softmax_by_sum(scores, visible), training=training)
        context = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.output_dense(ops.reshape(context, (batch, length, heads * size)))

    def _by_einsum(self, x, visible, training):
        """For XLA, which chooses layouts by itself and copies where it is told them."""
        heads, size = self.config.num_attention_heads, self.config.hidden_size // self.config.num_attention_heads
        query, key, value = (self._by_head(layer, x) for layer in (self.query, self.key, self.value))
        scores = _product("bqhd,bkhd->bhqk", query, key) * size**-0.5
        weights = self.dropout(_softmax_with_narrow_memory(scores, visible), training=training)
        context = _product("bhqk,bkhd->bqhd", weights, value)
        kernel = ops.reshape(ops.cast(self.output_dense.kernel, context.dtype), (heads, size, -1))
        return _product("bqhd,hdo->bqo", context, kernel) + ops.cast(self.output_dense.bias, context.dtype)

    def _by_head(self, layer, x):
        """[batch, length, hidden] -> [batch, length, heads, size]."""
        sizes = (self.config.num_attention_heads, -1)
        kernel = ops.reshape(ops.cast(layer.kernel, self.compute_dtype), (self.config.hidden_size, *sizes))
        bias = ops.reshape(ops.cast(layer.bias, self.compute_dtype), sizes)
        return _product("bli,ihd->blhd", ops.cast(x, self.compute_dtype), kernel) + bias

    def project(self, x):
        """[batch, length, hidden] -> [batch, length, 3 * hidden]: query, key and value."""
        layers = (self.query, self.key, self.value)
        kernel = ops.concatenate([ops.cast(layer.kernel, self.compute_dtype) for layer in layers], axis=1)
        bias = ops.concatenate([ops.cast(layer.bias, self.compute_dtype) for layer in layers], axis=0)
        return ops.matmul(ops.cast(x, self.compute_dtype), kernel) + bias


class Adapter(keras.layers.Layer):
    """A bottleneck with GELU and a way around it (Houlsby et al. 2019, figure 2); at first it changes nothing."""

    def __init__(self, config: Any, size: int, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.down = dense(config, size, "down", self.dtype_policy)
        self.up = keras.layers.Dense(config.hidden_size, kernel_initializer="zeros", name="up", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.down.units))

    def call(self, x):
        """[batch, length, hidden] -> the same."""
        return x + self.up(activation(self.config, self.down(x)))


class TransformerBlock(keras.layers.Layer):
    """Attention and feed-forward, each with dropout, residual and LayerNorm after it (post-LayerNorm).

    adapter_size: width of an adapter after each of the two; None for none.
    """

    def __init__(self, config: Any, adapter_size: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        policy = self.dtype_policy
        self.attention = SelfAttention(config, name="attention", dtype=policy)
        self.attention_norm = layer_norm(config, "attention_norm", policy)
        self.intermediate = dense(config, config.intermediate_size, "intermediate", policy)
        self.output_dense = dense(config, config.hidden_size, "output", policy)
        self.output_norm = layer_norm(config, "output_norm", policy)
        self.dropouts = [Dropout(config.hidden_dropout_prob, name=f"dropout_{i}", dtype=policy) for i in range(2)]
        self.adapters = []
        if adapter_size:
            names = ("attention_adapter", "output_adapter")
            self.adapters = [Adapter(config, adapter_size, name=name, dtype=policy) for name in names]

    def build(self, input_shape):
        for adapter in self.adapters:
            adapter.build(input_shape)
        self.attention.build(input_shape)
        self.attention_norm.build(input_shape)
        self.intermediate.build(input_shape)
        self.output_dense.build((*input_shape[:-1], self.config.intermediate_size))
        self.output_norm.build(input_shape)

    def call(self, x, visible, training=False):
        return self.after_attention(x, self.attention(x, visible, training=training), training=training)

    def after_attention(self, x, attended, training=False):
        """What went in and what attention made of it, [batch, length, hidden] -> the block's output, the same shape."""
        if self.adapters:
            attended = self.adapters[0](attended)
        x = self.attention_norm(x + self.dropouts[0](attended, training=training))
        hidden = self.feed_forward(x)
        if self.adapters:
            hidden = self.adapters[1](hidden)
        return self.output_norm(x + self.dropouts[1](hidden, training=training))

    def feed_forward(self, x):
        """[batch, length, hidden] -> the same, by way of the intermediate size."""
        return self.output_dense(activation(self.config, self.intermediate(x)))
