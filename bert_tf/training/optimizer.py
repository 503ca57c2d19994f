"""AdamW as google-research/bert has it, and LAMB, as pure functions: (weights, slots, gradients, step) -> new ones.

  g    = g * min(1, clip_norm / |g|)                over all weights together
  m    = beta_1 m + (1 - beta_1) g
  v    = beta_2 v + (1 - beta_2) g^2
  u    = m / (sqrt(v) + epsilon) + decay w
  w    = w - share rate(step) ratio u               ratio: AdamW 1, LAMB |w| / |u| of each weight

Devlin et al. 2018, A.2; Loshchilov and Hutter 2017 for the decoupled decay; You et al. 2020, algorithm 2, for LAMB.
Without bias correction, as google-research/bert; with it, m and v are divided by 1 - beta^(step + 1). Weights that do
not decay (biases and norms; WeightRecord.decays) do not adapt in LAMB either: their ratio is 1. A weight's share of the
rate is 1 unless given.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from bert_tf.core.config import OptimizerConfig

REPORTED = ("learning_rate", "gradient_norm", "loss_scale")  # by `update`, of a step
# Micikevicius et al. 2018, 3.2: a scale that doubles after so many good steps and halves after a bad one.
_FIRST_SCALE, _GROWTH_STEPS, _LARGEST_SCALE = 2.0**15, 2000, 2.0**24


class Slots(NamedTuple):
    """What an optimizer keeps: moments, one tensor a weight, and the loss scale.

    Attributes:
      first: first moments.
      second: second moments.
      scale: float32 [2]: by what the loss is multiplied, and how many good steps there were since that changed.
    """

    first: Sequence[Any]
    second: Sequence[Any]
    scale: Any


def first_scale(precision: str) -> list[float]:
    """Slots.scale of a new run: only float16 needs one, whose smallest numbers are larger than many gradients."""
    return [_FIRST_SCALE if precision == "mixed_float16" else 1.0, 0.0]


def learning_rate(config: OptimizerConfig, total_steps: int, step: Any) -> Any:
    """The rate of optimizer step `step` (0 is the first): linear warm-up from 0, then a polynomial to the final rate.

    As in google-research/bert, decay is counted from step 0, so the rate steps down a little at the end of the warm-up
    rather than continuing from the peak.
    """
    step = ops.cast(step, "float32")
    left = ops.maximum(1.0 - step / float(total_steps), 0.0)
    if config.decay_power != 1.0:
        left = ops.power(left, config.decay_power)
    decayed = config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * left
    if config.warmup_steps == 0:
        return decayed
    warming = config.learning_rate * step / float(config.warmup_steps)
    return ops.where(step < float(config.warmup_steps), warming, decayed)


def update(
    config: OptimizerConfig,
    *,
    total_steps: int,
    decay_mask: Sequence[bool],
    weights: Sequence[Any],
    slots: Slots,
    gradients: Sequence[Any],
    step: Any,
    scaled: bool = False,
    rate_shares: Sequence[float] | None = None,
) -> tuple[list[Any], Slots, dict[str, Any]]:
    """One optimizer step.

    Args:
      config: rates and decays.
      total_steps: where the rate reaches its end.
      decay_mask: one flag a weight.
      weights: float32.
      slots: moments, of the weights' shapes.
      gradients: already summed over replicas; dense.
      step: scalar integer, 0 for the first step.
      scaled: the gradients are slots.scale[0] times too large; where one of them is NaN or infinite, weights and
        moments stay as they are and the scale is halved. The step counts all the same.
      rate_shares: one factor of the rate a weight; None for 1.

    Returns:
      New weights, new slots, and {"learning_rate", "gradient_norm" (before clipping), "loss_scale"}.
    """
    scale, good_steps = slots.scale[0], slots.scale[1]
    if scaled:
        gradients = [gradient / scale for gradient in gradients]
    norm = ops.sqrt(ops.sum(ops.stack([ops.sum(ops.square(gradient)) for gradient in gradients])))
    if config.clip_norm is not None:
        shrink = config.clip_norm / ops.maximum(norm, config.clip_norm)
        gradients = [gradient * shrink for gradient in gradients]
    rate = learning_rate(config, total_steps, step)
    correction = [1.0, 1.0]
    if config.bias_correction:
        count = ops.cast(step, "float32") + 1.0
        correction = [1.0 - ops.power(beta, count) for beta in (config.beta_1, config.beta_2)]
    new_weights, first, second = [], [], []
    shares = [1.0] * len(weights) if rate_shares is None else rate_shares
    for weight, m, v, gradient, decay, share in zip(
        weights, slots.first, slots.second, gradients, decay_mask, shares, strict=True
    ):
        m = config.beta_1 * m + (1.0 - config.beta_1) * gradient
        v = config.beta_2 * v + (1.0 - config.beta_2) * ops.square(gradient)
        change = (m / correction[0]) / (ops.sqrt(v / correction[1]) + config.epsilon)
        if decay:
            change += config.weight_decay * weight
            if config.name == "lamb":
                change *= _trust_ratio(weight, change)
        new_weights.append(weight - (rate if share == 1.0 else share * rate) * change)
        first.append(m)
        second.append(v)
    reported = {"learning_rate": rate, "gradient_norm": norm, "loss_scale": scale}
    if not scaled:
        return new_weights, Slots(first, second, slots.scale), reported
    is_good = ops.isfinite(norm)

    def kept(new: list[Any], old: Sequence[Any]) -> list[Any]:
        return [ops.where(is_good, a, b) for a, b in zip(new, old, strict=True)]

    good_steps = ops.where(is_good, good_steps + 1.0, 0.0)
    grows = good_steps >= _GROWTH_STEPS
    grown = ops.where(grows, ops.minimum(2.0 * scale, _LARGEST_SCALE), scale)
    new_scale = ops.where(is_good, grown, ops.maximum(0.5 * scale, 1.0))
    new_slots = Slots(
        kept(first, slots.first),
        kept(second, slots.second),
        ops.stack([new_scale, ops.where(grows, 0.0, good_steps)]),
    )
    return kept(new_weights, weights), new_slots, reported


def _trust_ratio(weight: Any, change: Any) -> Any:
    """|w| / |u|; 1 where either is 0."""
    size, length = (ops.sqrt(ops.sum(ops.square(x))) for x in (weight, change))
    return ops.where(ops.logical_and(size > 0.0, length > 0.0), size / ops.maximum(length, 1e-30), 1.0)
