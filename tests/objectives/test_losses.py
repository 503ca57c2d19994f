"""Losses and hits by hand."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.models.compiled import compiled
from bert_tf.objectives.losses import binary_cross_entropy, correct, cross_entropy, smoothed_cross_entropy


def test_losses_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    np.testing.assert_allclose(cross_entropy(logits, np.array([0, 1])), [np.log(2), np.log(10)], rtol=1e-5)
    np.testing.assert_array_equal(correct(logits, np.array([0, 1])), [1.0, 0.0])


def test_smoothing_by_definition():
    logits = np.array([[1.0, 0.0, -1.0]], np.float32)
    log_p = logits[0] - np.log(np.exp(logits[0]).sum())
    target = np.array([0.7, 0.0, 0.0]) + 0.1
    found = smoothed_cross_entropy(logits, np.zeros(1, np.int32), np.array([0.3], np.float32))
    assert float(found[0]) == pytest.approx(-(target * log_p).sum())
    none = smoothed_cross_entropy(logits, np.zeros(1, np.int32), np.zeros(1, np.float32))
    np.testing.assert_allclose(none, cross_entropy(logits, np.zeros(1, np.int32)), rtol=1e-6)


def test_binary_cross_entropy_by_definition_and_without_overflow():
    logits, labels = np.array([0.0, 2.0, -3.0, 0.5], np.float32), np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -labels * np.log(p) - (1 - labels) * np.log(1 - p)
    np.testing.assert_allclose(binary_cross_entropy(logits, labels), expected, rtol=1e-5)
    far = binary_cross_entropy(np.array([200.0, -200.0], np.float32), np.array([0.0, 1.0], np.float32))
    np.testing.assert_array_equal(far, [200.0, 200.0])


@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "for XLA"])
def test_hits_are_those_of_the_largest_logit(is_compiled):
    """Of equal ones the first; op by op and as XLA compiles it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 7, 11)).astype(np.float32)
    logits[0, :, 3] = logits[0, :, 8] = 9.0
    labels = rng.integers(0, 11, (5, 7)).astype(np.int32)
    labels[0], labels[1] = 3, logits[1].argmax(-1)
    function = tf.function(correct, jit_compile=True) if is_compiled else correct
    with compiled() if is_compiled else contextlib.nullcontext():
        found = np.asarray(function(logits, labels))
    np.testing.assert_array_equal(found, (logits.argmax(-1) == labels).astype(np.float32))
    assert found[:2].all() and found.dtype == np.float32
