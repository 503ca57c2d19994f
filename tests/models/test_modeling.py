import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig, preset
from bert_tf.interop.weights import weight_names
from bert_tf.models.bert.encoder import BertEncoder
from bert_tf.models.compiled import compiled
from bert_tf.objectives.losses import correct, cross_entropy
from bert_tf.objectives.masked_lm import BertForPreTraining
from bert_tf.training.step import Step
from tests.support import reference_bert


def built(config, seed: int = 0, **kwargs) -> BertForPreTraining:
    """A model whose weights are all random, biases and LayerNorm included."""
    keras.utils.set_random_seed(seed)
    model = BertForPreTraining(config, **kwargs)
    model.build()
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(np.asarray(variable) + rng.normal(0, 0.1, variable.shape))
    return model


def named_weights(model) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable, np.float64) for name, variable, _ in weight_names(model)}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tiny", 4_385_920),
        ("mini", 11_170_560),
        ("small", 28_763_648),
        ("medium", 41_373_184),
        ("base", 109_482_240),
        ("large", 335_141_888),
    ],
)
def test_preset_has_the_published_number_of_parameters(name, parameters):
    with keras.StatelessScope():
        encoder = BertEncoder(preset(name))
        encoder.build()
    assert encoder.count_params() == parameters


# What is traced for XLA has other forms of the same, which run op by op as well.
both_forms = pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "for XLA"])


@both_forms
def test_outputs_and_loss_equal_the_reference(small_config, pretraining_batch, is_compiled):
    model = built(small_config)
    with compiled() if is_compiled else contextlib.nullcontext():
        outputs = model(pretraining_batch)
        hits = model.metric_sums(outputs, pretraining_batch)["masked_lm_accuracy"][0]
    logits, labels = np.asarray(outputs["masked_lm_logits"]), pretraining_batch["masked_lm_ids"]
    assert float(hits) == ((logits.argmax(-1) == labels) * pretraining_batch["masked_lm_weights"]).sum()
    weights = named_weights(model)
    loss, masked_lm, next_sentence = reference_bert.pretraining_loss(weights, pretraining_batch, layers=2, heads=2)
    np.testing.assert_allclose(outputs["masked_lm_logits"], masked_lm, atol=2e-5)
    np.testing.assert_allclose(outputs["next_sentence_logits"], next_sentence, atol=2e-5)
    sums, totals = model.loss_sums(outputs, pretraining_batch), model.loss_weights(pretraining_batch)
    assert float(sum(sums[name] / totals[name] for name in sums)) == pytest.approx(loss, rel=1e-5)


@both_forms
def test_every_gradient_equals_finite_differences_of_the_reference(small_config, pretraining_batch, is_compiled):
    model = built(small_config)
    step = Step(model, train=TrainConfig(), optimizer_config=OptimizerConfig(), is_compiled=is_compiled)
    variables = model.trainable_variables
    gradients, _ = step.gradients(
        [tf.convert_to_tensor(v) for v in variables],
        {name: tf.constant(x) for name, x in pretraining_batch.items()},
        model.loss_weights(pretraining_batch),
        tf.constant(0, tf.int64),
        tf.constant(0),
    )
    by_variable = {id(v): g.numpy() for v, g in zip(variables, gradients, strict=True)}
    weights = named_weights(model)
    rng = np.random.default_rng(1)

    def loss():
        return reference_bert.pretraining_loss(weights, pretraining_batch, layers=2, heads=2)[0]

    for name, variable, _ in weight_names(model):
        # The derivative along a random direction covers every entry of the weight.
        direction = rng.normal(size=variable.shape)
        direction /= np.linalg.norm(direction)
        kept, h = weights[name], 1e-5
        weights[name] = kept + h * direction
        above = loss()
        weights[name] = kept - h * direction
        numeric = (above - loss()) / (2 * h)
        weights[name] = kept
        assert np.vdot(by_variable[id(variable)], direction) == pytest.approx(numeric, abs=2e-5, rel=2e-4), name


@both_forms
@pytest.mark.parametrize("is_one_graph", [False, True], ids=["eager", "graph"])
def test_rematerialization_changes_no_gradient(small_config, pretraining_batch, is_compiled, is_one_graph):
    """With dropout: what is computed again must draw the same."""
    config = dataclasses.replace(small_config, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    model = built(config)

    def gradients(**train):
        step = Step(
            model, train=TrainConfig(**train), optimizer_config=OptimizerConfig(), is_compiled=is_compiled
        ).gradients
        return (tf.function(step, jit_compile=is_compiled, autograph=False) if is_one_graph else step)(
            [tf.convert_to_tensor(v) for v in model.trainable_variables],
            {name: tf.constant(x) for name, x in pretraining_batch.items()},
            model.loss_weights(pretraining_batch),
            tf.constant(3, tf.int64),
            tf.constant(0),
        )[0]

    called = []
    for block in model.encoder.blocks:
        call = block.call
        block.call = lambda *x, call=call, **more: called.append(1) or call(*x, **more)
    kept = gradients()
    once = len(called)
    again = gradients(rematerialize=True)
    assert len(called) == 3 * once  # once forward as before, once more for the backward pass
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(small_config, pretraining_batch):
    model = built(small_config)
    changed = dict(pretraining_batch)
    changed["input_word_ids"] = np.where(pretraining_batch["input_mask"] == 1, pretraining_batch["input_word_ids"], 7)
    before, after = model(pretraining_batch), model(changed)
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=1e-6)


def test_blank_row_gives_numbers(small_config, pretraining_batch):
    model = built(small_config)
    blank = {name: np.zeros_like(x) for name, x in pretraining_batch.items()}
    assert all(np.isfinite(x).all() for x in model(blank).values())


def test_tanh_gelu_is_another_function(small_config, pretraining_batch):
    new = dataclasses.replace(small_config, hidden_act="gelu_new")
    erf, tanh = built(small_config)(pretraining_batch), built(new)(pretraining_batch)
    difference = np.abs(erf["masked_lm_logits"] - tanh["masked_lm_logits"]).max()
    assert 1e-5 < difference < 0.05


def test_dropout_acts_in_training_only(small_config, pretraining_batch):
    model = built(dataclasses.replace(small_config, hidden_dropout_prob=0.5))
    first, second = (model(pretraining_batch)["masked_lm_logits"].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(model(pretraining_batch, training=True)["masked_lm_logits"] - first).max() > 0.1


def test_bfloat16_keeps_weights_and_logits_in_float32(small_config, pretraining_batch):
    model = built(small_config, dtype=keras.DTypePolicy("mixed_bfloat16"))
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    outputs = model(pretraining_batch)
    assert {x.dtype for x in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(
        outputs["masked_lm_logits"], built(small_config)(pretraining_batch)["masked_lm_logits"], atol=0.5
    )


def test_initial_weights_are_truncated_normal():
    keras.utils.set_random_seed(0)
    model = BertForPreTraining(preset("tiny"))
    model.build()
    table = np.asarray(model.encoder.embeddings.word_embeddings)
    assert np.abs(table).max() <= 0.04 + 1e-6
    # A normal cut at two standard deviations has 0.8796 of its deviation.
    assert table.std() == pytest.approx(0.02 * 0.8796, rel=0.01)
    query, key = (np.asarray(getattr(model.encoder.blocks[0].attention, n).kernel) for n in ("query", "key"))
    assert np.abs(np.corrcoef(query.ravel(), key.ravel())[0, 1]) < 0.05


def test_losses_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    np.testing.assert_allclose(cross_entropy(logits, np.array([0, 1])), [np.log(2), np.log(10)], rtol=1e-5)
    np.testing.assert_array_equal(correct(logits, np.array([0, 1])), [1.0, 0.0])
