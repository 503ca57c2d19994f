"""AdamW as google-research/bert has it, as a pure function: (weights, slots, gradients, step) -> (weights, slots).

  g    = g * min(1, clip_norm / |g|)                over all weights together
  m    = beta_1 m + (1 - beta_1) g
  v    = beta_2 v + (1 - beta_2) g^2
  w    = w - rate(step) (m / (sqrt(v) + epsilon) + decay w)

Devlin et al. 2018, A.2; Loshchilov and Hutter 2017 for the decoupled decay. Without bias correction, as the original
code; with it, m and v are divided by 1 - beta^(step + 1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from bert_tf.config import OptimizerConfig

TOLD = ("learning_rate", "gradient_norm")  # what `update` reports of a step


class Slots(NamedTuple):
    """First and second moments, one tensor a weight."""

    first: Sequence[tf.Tensor]
    second: Sequence[tf.Tensor]


def learning_rate(config: OptimizerConfig, total_steps: int, step: tf.Tensor) -> tf.Tensor:
    """The rate of optimizer step `step` (0 is the first): linear warm-up from 0, then linear decay to 0.

    The two lines are google-research/bert's: decay is counted from step 0, so the rate steps down a little at the end
    of the warm-up rather than continuing from the peak.
    """
    step = tf.cast(step, tf.float32)
    decayed = config.learning_rate * tf.maximum(0.0, 1.0 - step / float(total_steps))
    if config.warmup_steps == 0:
        return decayed
    warming = config.learning_rate * step / float(config.warmup_steps)
    return tf.where(step < float(config.warmup_steps), warming, decayed)


def decays(path: str) -> bool:
    """Whether a weight is subject to weight decay: all but biases and LayerNorm."""
    name = path.rsplit("/", 1)[-1]
    return name not in ("bias", "output_bias", "gamma", "beta")


def update(
    config: OptimizerConfig,
    *,
    total_steps: int,
    decay_mask: Sequence[bool],
    weights: Sequence[tf.Tensor],
    slots: Slots,
    gradients: Sequence[tf.Tensor],
    step: tf.Tensor,
) -> tuple[list[tf.Tensor], Slots, dict[str, tf.Tensor]]:
    """One optimizer step.

    Args:
      config: rates and decays.
      total_steps: where the rate reaches 0.
      decay_mask: one flag a weight.
      weights: float32.
      slots: moments, of the weights' shapes.
      gradients: already summed over replicas; dense.
      step: scalar integer, 0 for the first step.

    Returns:
      New weights, new slots, and {"learning_rate", "gradient_norm"} (the norm before clipping).
    """
    norm = tf.linalg.global_norm(gradients)
    if config.clip_norm is not None:
        scale = config.clip_norm / tf.maximum(norm, config.clip_norm)
        gradients = [gradient * scale for gradient in gradients]
    rate = learning_rate(config, total_steps, step)
    correction = [tf.constant(1.0), tf.constant(1.0)]
    if config.bias_correction:
        count = tf.cast(step, tf.float32) + 1.0
        correction = [1.0 - tf.pow(beta, count) for beta in (config.beta_1, config.beta_2)]
    new_weights, first, second = [], [], []
    for weight, m, v, gradient, decay in zip(weights, *slots, gradients, decay_mask, strict=True):
        m = config.beta_1 * m + (1.0 - config.beta_1) * gradient
        v = config.beta_2 * v + (1.0 - config.beta_2) * tf.square(gradient)
        change = (m / correction[0]) / (tf.sqrt(v / correction[1]) + config.epsilon)
        if decay:
            change += config.weight_decay * weight
        new_weights.append(weight - rate * change)
        first.append(m)
        second.append(v)
    return new_weights, Slots(first, second), {"learning_rate": rate, "gradient_norm": norm}
