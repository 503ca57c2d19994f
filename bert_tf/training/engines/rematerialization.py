"""Activations of a block computed again in the backward pass, instead of kept (Chen et al. 2016, section 4.2)."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


@contextlib.contextmanager
def rematerialized(model: keras.Model, values: Sequence[tuple[keras.Variable, tf.Tensor]]) -> Iterator[None]:
    """While it lasts, of every block of the model's encoder only what goes in is kept for the backward pass.

    A block takes a third more operations then, and its activations no memory but while it is at work. Dropout draws
    the same both times.

    Args:
      model: with an encoder.
      values: of its variables.
    """
    value_of = {id(variable): value for variable, value in values}

    def run_block(block, x, visible, training):
        states = [value_of[id(variable)] for variable in block.non_trainable_variables]

        @tf.recompute_grad
        def call(x, *weights):
            return block.stateless_call(weights, states, x, visible, training=training)[0]

        return call(x, *(value_of[id(variable)] for variable in block.trainable_variables))

    model.encoder.run_block = run_block
    try:
        yield
    finally:
        del model.encoder.run_block
