import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TuningConfig
from bert_tf.models import tuning
from bert_tf.models.bert.config import preset
from bert_tf.models.family import records
from bert_tf.models.model import make_model
from bert_tf.training import optimizer
from bert_tf.training.step import Step
from tests.support.training import masked_lm


def slots_of(weights, scale=(1.0, 0.0)):
    zeros = [tf.zeros_like(w) for w in weights]
    return optimizer.Slots(zeros, zeros, tf.constant(scale))


@pytest.mark.parametrize("name", ["adamw", "lamb"])
@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_ten_steps_equal_numpy(name, bias_correction, power):
    config = OptimizerConfig(
        name=name,
        learning_rate=0.1,
        warmup_steps=4,
        final_learning_rate=0.02,
        decay_power=power,
        weight_decay=0.1,
        clip_norm=1.0,
        bias_correction=bias_correction,
    )
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 2)), rng.normal(size=4), np.zeros(3)]
    gradients = [[rng.normal(size=w.shape) * 10.0**-k for w in start] for k in range(10)]
    gradients[0][2][:] = 0.0  # a weight of zeros with an update of zeros: LAMB's ratio is 1, not 0 / 0

    weights = [tf.constant(w, tf.float32) for w in start]
    slots = slots_of(weights)
    w, m, v = ([a.copy() for a in start], *([np.zeros_like(a) for a in start] for _ in range(2)))
    for step in range(10):
        weights, slots, told = optimizer.update(
            config,
            total_steps=10,
            decay_mask=[True, False, True],
            weights=weights,
            slots=slots,
            gradients=[tf.constant(g, tf.float32) for g in gradients[step]],
            step=tf.constant(step),
        )
        norm = np.sqrt(sum((g**2).sum() for g in gradients[step]))
        rate = 0.1 * step / 4 if step < 4 else 0.02 + 0.08 * (1 - step / 10) ** power
        for i, decay in enumerate([0.1, 0.0, 0.1]):
            g = gradients[step][i] / max(norm, 1.0)
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            c1, c2 = (1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)) if bias_correction else (1, 1)
            change = m[i] / c1 / (np.sqrt(v[i] / c2) + 1e-6) + decay * w[i]
            size, length = np.linalg.norm(w[i]), np.linalg.norm(change)
            ratio = size / length if name == "lamb" and decay and size and length else 1.0
            w[i] = w[i] - rate * ratio * change
        assert float(told["learning_rate"]) == pytest.approx(rate, rel=1e-6, abs=1e-9)
        assert float(told["gradient_norm"]) == pytest.approx(norm, rel=1e-5)
    for ours, theirs in zip(weights, w, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_loss_scale_halves_on_a_bad_step_and_doubles_after_two_thousand_good_ones():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0)
    weights = [tf.constant([1.0, 2.0])]

    def step(slots, gradient):
        return optimizer.update(
            config,
            total_steps=10,
            decay_mask=[True],
            weights=weights,
            slots=slots,
            gradients=[tf.constant(gradient)],
            step=tf.constant(1),
            scaled=True,
        )

    bad, slots, told = step(slots_of(weights, (8.0, 5.0)), [np.inf, 1.0])
    np.testing.assert_array_equal(bad[0], weights[0])
    np.testing.assert_array_equal(slots.first[0], [0.0, 0.0])
    np.testing.assert_array_equal(slots.scale, [4.0, 0.0])
    assert float(told["loss_scale"]) == 8.0
    good, slots, told = step(slots_of(weights, (8.0, 1999.0)), [2.4, 3.2])
    np.testing.assert_array_equal(slots.scale, [16.0, 0.0])
    assert float(told["gradient_norm"]) == pytest.approx(0.5)  # (0.3, 0.4), unscaled
    plain, *_ = optimizer.update(
        config,
        total_steps=10,
        decay_mask=[True],
        weights=weights,
        slots=slots_of(weights),
        gradients=[tf.constant([0.3, 0.4])],
        step=tf.constant(1),
    )
    np.testing.assert_allclose(good[0], plain[0], rtol=1e-6)


def test_small_gradients_are_not_scaled_up():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=0, clip_norm=1.0)
    _, slots, _ = optimizer.update(
        config,
        total_steps=10,
        decay_mask=[False],
        weights=[tf.constant([1.0])],
        slots=slots_of([tf.constant([0.0])]),
        gradients=[tf.constant([0.5])],
        step=tf.constant(0),
    )
    assert float(slots.first[0][0]) == pytest.approx(0.05)


def test_schedule_ends_at_zero_and_clip_can_be_off():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=2, clip_norm=None)
    rates = [float(optimizer.learning_rate(config, 4, tf.constant(step))) for step in range(5)]
    assert rates == [0.0, 0.5, 0.5, 0.25, 0.0]
    _, slots, _ = optimizer.update(
        config,
        total_steps=4,
        decay_mask=[False],
        weights=[tf.constant([0.0])],
        slots=slots_of([tf.constant([0.0])]),
        gradients=[tf.constant([1000.0])],
        step=tf.constant(1),
    )
    assert float(slots.first[0][0]) == pytest.approx(100.0)


def test_biases_and_layer_norm_do_not_decay():
    found = records(make_model(preset("tiny", vocab_size=1000), {}, with_pooler=True))
    exempt = [record for record in found if not record.decays]
    assert all(len(record.variable.shape) == 1 for record in exempt)
    assert all(len(record.variable.shape) == 2 for record in found if record.decays)
    # Two layers: 6 dense biases and 2 x 2 LayerNorm weights each, and those of embeddings and pooler.
    assert len(exempt) == 2 * (6 + 4) + 2 + 1


def test_the_step_decays_what_the_records_say_and_what_lora_added():
    model = make_model(preset("tiny", vocab_size=1000), {"masked_lm": {}, "pair": {}})
    tuning.prepare(model, TuningConfig(method="lora", lora_rank=2))
    step = Step(model, masked_lm())
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=0, weight_decay=0.5)
    update = step.updater(config, total_steps=10, scaled=False)
    weights = [tf.ones(variable.shape) for variable in step.weights]
    zeros = [tf.zeros_like(weight) for weight in weights]
    new, *_ = update(weights, slots_of(weights), zeros, tf.constant(0))
    moved = {v.path.partition("/")[2]: bool((np.asarray(w) != 1).any()) for v, w in zip(step.weights, new, strict=True)}
    assert moved == {name: not name.endswith(("bias", "gamma", "beta")) for name in moved}
    assert sum("lora" in name for name in moved) == 2 * 2 * 2
    for value in new:  # the rate, the decay and a weight of 1
        assert set(np.unique(value)) <= {np.float32(0.5), np.float32(1.0)}
