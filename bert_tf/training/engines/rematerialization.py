"""Activations of a block computed again in the backward pass, instead of kept (Chen et al. 2016, section 4.2)."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


@contextlib.contextmanager
def rematerialized(model: keras.Model, weights: Sequence[tf.Tensor], states: Sequence[tf.Tensor]) -> Iterator[None]:
    """While it lasts, of every block of the model's encoder only what goes in is kept for the backward pass.

    A block takes a third more operations then, and its activations no memory but while it is at work. Dropout draws
    the same both times.

    Args:
      model: with an encoder.
      weights, states: the values that stateless_call is given for trainable and other variables.
    """
    values = {
        id(variable): value
        for variable, value in zip(
            (*model.trainable_variables, *model.non_trainable_variables), (*weights, *states), strict=True
        )
    }

    def run_block(block, x, visible, training):
        block_states = [values[id(variable)] for variable in block.non_trainable_variables]

        @tf.recompute_grad
        def call(x, *block_weights):
            return block.stateless_call(block_weights, block_states, x, visible, training=training)[0]

        return call(x, *(values[id(variable)] for variable in block.trainable_variables))

    model.encoder.run_block = run_block
    try:
        yield
    finally:
        del model.encoder.run_block
