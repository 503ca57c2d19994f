"""Weights put together for answers rather than for training."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from bert_tf.models.family import records
from bert_tf.models.layers import TransformerBlock, activation, softmax_by_sum
from bert_tf.models.model import Model

Product = Callable[[tf.Tensor], tf.Tensor]


def fuse_for_serving(model: Model) -> None:
    """Gives a model's wide products weights that a processor reads faster; its answers stay the same.

    Training keeps query, key and value apart, since optimizers and checkpoints name them: put together in every call,
    they cost 10 ms of a base-size model's answer. And the kernel of [hidden, intermediate], row after row, has columns
    12 KB apart, which fall on the same cache lines: transposed, its product with few rows takes 0.6 of the time
    (docs/results.md). For calls without training only. Blocks that are not bert_tf.models.layers.TransformerBlock stay
    as they are.

    Of a model that reads the first token's output only, the last block answers for that token only.

    Args:
      model: built and loaded.
    """
    blocks = model.encoder.blocks
    if not all(isinstance(block, TransformerBlock) for block in blocks):
        return
    layers = {(record.depth, record.part): record.layer for record in records(model) if record.layer is not None}
    for index, block in enumerate(blocks):
        of_block = {part: layer for (depth, part), layer in layers.items() if depth == len(blocks) - index}
        fused = [of_block[part] for part in ("query", "key", "value")]
        block.attention.project = _product(
            tf.concat([layer.kernel for layer in fused], axis=1),
            tf.concat([layer.bias for layer in fused], axis=0),
            block.attention.compute_dtype,
        )
        block.feed_forward = _feed_forward(block, of_block["intermediate"], of_block["output"])
    if model.reads_first_token_only:
        last = blocks[-1]
        of_first = _of_first_token(last)

        def run_block(block: TransformerBlock, x: tf.Tensor, visible: tf.Tensor, training: bool) -> tf.Tensor:
            return of_first(x, visible) if block is last else block(x, visible, training=training)

        model.encoder.run_block = run_block


def _of_first_token(block: TransformerBlock) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The block's output for the first token alone, [batch, 1, hidden], without keys and values of the others.

    A score is q . (K x), which is (K^T q) . x; the weights' sum of V x is V times their sum of x; the keys' bias adds
    the same to all scores and the weights add up to 1. So no product has a row for every token.
    """
    attention = block.attention
    heads, width, dtype = block.config.num_attention_heads, block.config.hidden_size, attention.compute_dtype
    size = width // heads
    by_head = [tf.reshape(layer.kernel, [width, heads, size]) for layer in (attention.key, attention.value)]
    to_keys = _kept(tf.transpose(by_head[0], [1, 2, 0]) * size**-0.5)
    to_values = _kept(tf.transpose(by_head[1], [1, 0, 2]))
    value_bias = _kept(attention.value.bias)

    def of_first_token(x: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
        x, first = tf.cast(x, dtype), x[:, :1]
        query = tf.reshape(attention.query(first), [-1, heads, 1, size])
        asked = tf.squeeze(tf.matmul(query, tf.cast(to_keys, dtype)), axis=2)
        weights = softmax_by_sum(tf.matmul(asked, x, transpose_b=True), visible[:, 0, :1])
        seen = tf.expand_dims(tf.matmul(weights, x), axis=2)
        context = tf.reshape(tf.matmul(seen, tf.cast(to_values, dtype)), [-1, 1, width])
        attended = attention.output_dense(context + tf.cast(value_bias, dtype))
        return block.after_attention(first, attended)

    return of_first_token


def _feed_forward(block: TransformerBlock, inner: keras.layers.Dense, outer: keras.layers.Dense) -> Product:
    dtype = inner.compute_dtype
    if block.config.hidden_act != "gelu":
        expand = _product(tf.transpose(inner.kernel), inner.bias, dtype, transposed=True)
        return lambda x: outer(activation(block.config, expand(x)))
    # GELU of u is 0.5 u erfc(-u / sqrt 2), five passes over a wide array. With z = -u / sqrt 2 from the first product
    # it is -(1 / sqrt 2) z erfc(z), and the second product has the factor: two passes are left.
    scale = -math.sqrt(0.5)
    expand = _product(tf.transpose(inner.kernel) * scale, inner.bias * scale, dtype, transposed=True)
    contract = _product(outer.kernel * scale, outer.bias, dtype)

    def feed_forward(x: tf.Tensor) -> tf.Tensor:
        z = expand(x)
        return contract(z * tf.math.erfc(z))

    return feed_forward


def _product(kernel: tf.Tensor, bias: tf.Tensor, dtype: str, transposed: bool = False) -> Product:
    kernel, bias = _kept(kernel), _kept(bias)

    def product(x: tf.Tensor) -> tf.Tensor:
        batch, length, _ = tf.unstack(tf.shape(x))
        rows = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
        rows = tf.matmul(rows, tf.cast(kernel, dtype), transpose_b=transposed)
        return tf.reshape(rows, [batch, length, rows.shape[-1]]) + tf.cast(bias, dtype)

    return product


def _kept(value: tf.Tensor) -> tf.Variable:
    return tf.Variable(tf.convert_to_tensor(value), trainable=False)
