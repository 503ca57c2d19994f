"""Weights laid out for answers rather than for training."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from bert_tf.modeling.layers import TransformerBlock, activation

Product = Callable[[tf.Tensor], tf.Tensor]


def lay_out(model: keras.Model) -> None:
    """Gives a model's wide products weights that a processor reads faster; its answers stay the same.

    Training keeps query, key and value apart, since optimizers and checkpoints name them: put together in every call,
    they cost 10 ms of a base-size model's answer. And the kernel of [hidden, intermediate], row after row, has columns
    12 KB apart, which fall on the same cache lines: transposed, its product with few rows takes 0.6 of the time
    (docs/results.md). For calls without training only.

    Args:
      model: built and loaded, with an encoder.
    """
    for block in model.encoder.blocks:
        attention = block.attention
        layers = (attention.query, attention.key, attention.value)
        attention.project = _product(
            tf.concat([layer.kernel for layer in layers], axis=1),
            tf.concat([layer.bias for layer in layers], axis=0),
            attention.compute_dtype,
        )
        block.feed_forward = _feed_forward(block)


def _feed_forward(block: TransformerBlock) -> Product:
    inner, outer, dtype = block.intermediate, block.output_dense, block.intermediate.compute_dtype
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
    kernel = tf.Variable(tf.convert_to_tensor(kernel), trainable=False)
    bias = tf.Variable(tf.convert_to_tensor(bias), trainable=False)

    def product(x: tf.Tensor) -> tf.Tensor:
        batch, length, _ = tf.unstack(tf.shape(x))
        rows = tf.reshape(tf.cast(x, dtype), [-1, x.shape[-1]])
        rows = tf.matmul(rows, tf.cast(kernel, dtype), transpose_b=transposed)
        return tf.reshape(rows, [batch, length, rows.shape[-1]]) + tf.cast(bias, dtype)

    return product
