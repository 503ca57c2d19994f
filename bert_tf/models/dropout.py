"""Dropout, drawn from Keras' generator or, where XLA compiles it, from a hash.

A generator's numbers are written to memory and read again, forward and back. A hash of seed and position is arithmetic
that XLA fuses into what uses it: no byte is moved. Op by op, on a CPU, it is slower than the generator.
"""

import math

import keras
from keras import ops

from bert_tf.models.compiled import is_compiled


class Dropout(keras.layers.Dropout):
    """Keras' layer (Srivastava et al. 2014)."""

    def call(self, inputs, training=False):
        if not training or not self.rate or not is_compiled():
            return super().call(inputs, training=training)
        bits = random_bits(self.seed_generator.next(), ops.shape(inputs))
        kept = bits >= ops.cast(round(self.rate * 2**32), "uint32")
        return ops.where(kept, inputs / (1 - self.rate), ops.zeros((), inputs.dtype))


def random_bits(seed, shape):
    """uint32 of a static shape: two rounds of a bijection of 32 bits, on the position and the seed's two numbers.

    The bijection is Wellons' lowbias32 (2018), whose every input bit changes every output bit with a probability of
    0.5 +- 0.0008.

    Args:
      seed: integers [2].
      shape: static sizes.
    """
    position = ops.zeros((), "uint32")
    for axis, size in enumerate(shape):
        steps = ops.cast(ops.arange(size, dtype="int32"), "uint32") * _number(math.prod(shape[axis + 1 :]))
        position = position + ops.reshape(steps, [size if a == axis else 1 for a in range(len(shape))])
    first, second = ops.unstack(ops.cast(seed, "uint32"), 2)
    return _mixed(ops.bitwise_xor(_mixed(ops.bitwise_xor(position, first)), second))


def _mixed(x):
    x = ops.bitwise_xor(x, ops.right_shift(x, _number(16))) * _number(0x7FEB352D)
    x = ops.bitwise_xor(x, ops.right_shift(x, _number(15))) * _number(0x846CA68B)
    return ops.bitwise_xor(x, ops.right_shift(x, _number(16)))


def _number(value: int):
    return ops.convert_to_tensor(value % 2**32, dtype="uint32")
