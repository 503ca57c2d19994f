"""Dropout as XLA gets it: a hash in place of a generator."""

import math

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.models.compiled import compiled
from bert_tf.models.dropout import Dropout, random_bits

_MASK = 0xFFFFFFFF


def mixed(x: int) -> int:
    """lowbias32, as Wellons gives it in C."""
    x ^= x >> 16
    x = x * 0x7FEB352D & _MASK
    x ^= x >> 15
    x = x * 0x846CA68B & _MASK
    return x ^ x >> 16


def test_bits_are_those_of_the_definition():
    shape, seed = (3, 5, 7), (123456789, 2**31 - 3)
    bits = random_bits(tf.constant(seed, tf.int64), shape).numpy()
    expected = [mixed(mixed(position ^ seed[0]) ^ seed[1]) for position in range(math.prod(shape))]
    assert bits.dtype == np.uint32 and bits.reshape(-1).tolist() == expected
    inside = tf.function(lambda s: random_bits(s, shape), jit_compile=True)
    np.testing.assert_array_equal(inside(tf.constant(seed, tf.int64)).numpy(), bits)


def test_bits_are_fair_and_independent_of_neighbours_and_seeds():
    """Each share lies within 5 standard errors of 1/2: about 200 tests, one in 1.7 million each by chance."""
    shape, error = (512, 512), 0.5 / math.sqrt(512 * 512)
    drawn = [
        random_bits(tf.constant(seed, tf.int64), shape).numpy() for seed in ((1, 1), (2, 1), (1, 2), (77, 1234567))
    ]
    for bits in drawn:
        ones = [(bits >> np.uint32(i) & np.uint32(1)).mean() for i in range(32)]
        assert np.abs(np.array(ones) - 0.5).max() < 5 * error
    high = [bits >> np.uint32(31) for bits in drawn]
    pairs = [(a, b) for i, a in enumerate(high) for b in high[i + 1 :]]
    for distance in (1, 2, 3, 512, 513):
        pairs += [(bits, np.roll(bits.reshape(-1), distance).reshape(shape)) for bits in high]
    for one, other in pairs:
        assert abs((one == other).mean() - 0.5) < 5 * error


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean(rate):
    layer = Dropout(rate, seed=3)
    x = tf.ones([400, 1000])
    with compiled():
        first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
        np.testing.assert_array_equal(layer(x, training=False), x)
    assert set(np.unique(first)) == {0.0, np.float32(1 / (1 - rate))}
    error = math.sqrt(rate * (1 - rate) / x.shape.num_elements())
    assert abs((first == 0).mean() - rate) < 5 * error
    both = (first == 0) & (second == 0)  # two calls draw independently
    assert abs(both.mean() - rate**2) < 5 * math.sqrt(rate**2 / x.shape.num_elements())


def test_the_gradient_drops_the_same():
    layer, x = Dropout(0.3, seed=3), tf.ones([50, 60])
    with compiled(), tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)
