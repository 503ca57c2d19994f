import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.models import heads
from bert_tf.models.bert.config import PRESETS, preset
from bert_tf.models.bert.encoder import BertEncoder
from bert_tf.models.compiled import compiled
from bert_tf.models.family import FAMILIES, Family, architecture_of, by_variable, family_of, records
from bert_tf.models.model import INPUTS, make_model
from tests.support import reference_bert
from tests.support.training import OneStep, masked_lm, randomized, sums_of

PRETRAINING = {"masked_lm": {}, "pair": {}}


def built(config, seed: int = 0, dtype="float32"):
    """A model whose weights are all random, biases and LayerNorm included."""
    keras.utils.set_random_seed(seed)
    return randomized(make_model(config, PRETRAINING, dtype=dtype), seed)


def named_weights(model) -> dict[str, np.ndarray]:
    return {record.name: np.asarray(record.variable, np.float64) for record in records(model)}


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
        encoder = BertEncoder(preset(name, vocab_size=30_522))
        encoder.build()
    assert encoder.count_params() == parameters


# What is traced for XLA has other forms of the same, which run op by op as well.
both_forms = pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "for XLA"])


@both_forms
def test_outputs_and_loss_equal_the_reference(small_config, pretraining_batch, is_compiled):
    model, objective = built(small_config), masked_lm()
    sums, outputs = sums_of(
        model, objective, pretraining_batch, compiled=compiled if is_compiled else contextlib.nullcontext
    )
    logits, labels = np.asarray(outputs["masked_lm_logits"]), pretraining_batch["masked_lm_ids"]
    hits = ((logits.argmax(-1) == labels) * pretraining_batch["masked_lm_weights"]).sum()
    assert sums["masked_lm_accuracy"] == (hits, pretraining_batch["masked_lm_weights"].sum())
    weights = named_weights(model)
    loss, masked, next_sentence = reference_bert.pretraining_loss(weights, pretraining_batch, layers=2, heads=2)
    np.testing.assert_allclose(outputs["masked_lm_logits"], masked, atol=2e-5)
    np.testing.assert_allclose(outputs["next_sentence_logits"], next_sentence, atol=2e-5)
    totals = objective.denominators(pretraining_batch)
    assert set(totals) == set(objective.losses)
    assert sum(sums[name][0] / float(totals[name]) for name in totals) == pytest.approx(loss, rel=1e-5)


@both_forms
def test_every_gradient_equals_finite_differences_of_the_reference(small_config, pretraining_batch, is_compiled):
    model = built(small_config)
    gradients, _ = OneStep(model, masked_lm(), is_compiled=is_compiled).gradients(pretraining_batch)
    by_id = {id(v): g.numpy() for v, g in zip(model.trainable_variables, gradients, strict=True)}
    weights = named_weights(model)
    rng = np.random.default_rng(1)

    def loss():
        return reference_bert.pretraining_loss(weights, pretraining_batch, layers=2, heads=2)[0]

    for name, variable, *_ in records(model):
        # The derivative along a random direction covers every entry of the weight.
        direction = rng.normal(size=variable.shape)
        direction /= np.linalg.norm(direction)
        kept, h = weights[name], 1e-5
        weights[name] = kept + h * direction
        above = loss()
        weights[name] = kept - h * direction
        numeric = (above - loss()) / (2 * h)
        weights[name] = kept
        assert np.vdot(by_id[id(variable)], direction) == pytest.approx(numeric, abs=2e-5, rel=2e-4), name


@both_forms
@pytest.mark.parametrize("is_one_graph", [False, True], ids=["eager", "graph"])
def test_rematerialization_changes_no_gradient(small_config, pretraining_batch, is_compiled, is_one_graph):
    """With dropout: what is computed again must draw the same."""
    config = dataclasses.replace(small_config, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    model = built(config)

    def gradients(**train):
        step = OneStep(model, masked_lm(), is_compiled=is_compiled, **train)
        return step.gradients(pretraining_batch, 3, jit=is_compiled if is_one_graph else None)[0]

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
    model = built(small_config, dtype="mixed_bfloat16")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    outputs = model(pretraining_batch)
    assert {x.dtype for x in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(
        outputs["masked_lm_logits"], built(small_config)(pretraining_batch)["masked_lm_logits"], atol=0.5
    )


def test_initial_weights_are_truncated_normal():
    keras.utils.set_random_seed(0)
    model = make_model(preset("tiny", vocab_size=30_522), PRETRAINING)
    table = np.asarray(model.encoder.embeddings.word_embeddings)
    assert np.abs(table).max() <= 0.04 + 1e-6
    # A normal cut at two standard deviations has 0.8796 of its deviation.
    assert table.std() == pytest.approx(0.02 * 0.8796, rel=0.01)
    query, key = (np.asarray(getattr(model.encoder.blocks[0].attention, n).kernel) for n in ("query", "key"))
    assert np.abs(np.corrcoef(query.ravel(), key.ravel())[0, 1]) < 0.05


# Kind of head: settings, what it gives of 8 rows of 16 tokens, the class of transformers that opens it.
HEADS = {
    "sequence": ({"units": 3, "dropout": 0.0}, {"logits": (8, 3)}, "BertForSequenceClassification"),
    "tokens": ({"units": 3, "dropout": 0.0}, {"logits": (8, 16, 3)}, "BertForTokenClassification"),
    "spans": ({}, {"start_logits": (8, 16), "end_logits": (8, 16)}, "BertForQuestionAnswering"),
    "choices": ({"dropout": 0.0}, {"logits": (4, 2)}, "BertForMultipleChoice"),
    "masked_lm": ({}, {"masked_lm_logits": (8, 4, 50)}, "BertForMaskedLM"),
    "pair": ({}, {"next_sentence_logits": (8, 2)}, "BertForNextSentencePrediction"),
    "embedding": ({}, {"embedding": (8, 8)}, "BertModel"),
}


def test_every_kind_of_head_is_tested():
    assert set(HEADS) == set(heads.KINDS)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_every_head_gives_float32_of_the_promised_shape(small_config, pretraining_batch, kind):
    settings, shapes, architecture = HEADS[kind]
    model = make_model(small_config, {kind: settings}, dtype="mixed_bfloat16")
    assert architecture_of(model) == architecture
    batch = dict(pretraining_batch)
    if kind == "choices":
        batch = {name: batch[name].reshape(4, 2, 16) for name in INPUTS}
    outputs = model(batch)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == shapes
    assert {x.dtype for x in outputs.values()} == {tf.float32}


def test_heads_read_one_encoder_together(small_config, pretraining_batch):
    model = built(small_config)
    alone = make_model(small_config, {"pair": {}})
    values = named_weights(model)
    for record in records(alone):
        record.variable.assign(values[record.name])
    together, one = model(pretraining_batch), alone(pretraining_batch)
    assert set(together) == {"masked_lm_logits", "next_sentence_logits"} and set(one) == {"next_sentence_logits"}
    np.testing.assert_allclose(together["next_sentence_logits"], one["next_sentence_logits"], atol=1e-6)


def test_a_choice_without_tokens_is_never_chosen(small_config, pretraining_batch):
    model = make_model(small_config, {"choices": {"dropout": 0.0}})
    batch = {name: pretraining_batch[name].reshape(4, 2, 16).copy() for name in INPUTS}
    before = np.asarray(model(batch)["logits"])
    for name in batch:
        batch[name][1, 1] = 0
    after = np.asarray(model(batch)["logits"])
    assert after[1, 1] == np.float32(-1e9)
    others = np.arange(8).reshape(4, 2) != 3
    np.testing.assert_allclose(after[others], before[others], atol=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_text_vectors_are_means_of_what_is_not_padding(small_config, pretraining_batch, normalize):
    model = randomized(make_model(small_config, {"embedding": {"pooling": "mean", "normalize": normalize}}))
    sequence = np.asarray(model.encoder(pretraining_batch)["sequence_output"], np.float64)
    mask = pretraining_batch["input_mask"][..., None]
    expected = (sequence * mask).sum(axis=1) / mask.sum(axis=1)
    first = sequence[:, 0]
    if normalize:
        expected, first = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (expected, first))
    np.testing.assert_allclose(model(pretraining_batch)["embedding"], expected, atol=1e-5)
    of_cls = make_model(small_config, {"embedding": {"pooling": "cls", "normalize": normalize}})
    for ours, theirs in zip(of_cls.trainable_variables, model.trainable_variables, strict=True):
        ours.assign(theirs)
    np.testing.assert_allclose(of_cls(pretraining_batch)["embedding"], first, atol=1e-5)
    # Two texts a row are two rows.
    pairs = model({name: pretraining_batch[name].reshape(4, 2, 16) for name in INPUTS})["embedding"]
    np.testing.assert_allclose(np.reshape(pairs, (8, -1)), expected, atol=1e-5)


def test_a_pooler_is_there_where_a_head_reads_it(small_config):
    for kind, (settings, _, _) in HEADS.items():
        model = make_model(small_config, {kind: settings})
        assert (model.encoder.pooler is not None) == (kind in ("sequence", "choices", "pair")), kind
        assert model.reads_first_token_only == (kind in ("sequence", "choices", "pair")), kind
    assert make_model(small_config, {"embedding": {"pooling": "cls"}}).reads_first_token_only
    assert make_model(small_config, {}).encoder.pooler is None
    passed_on = make_model(small_config, {"tokens": {"units": 2}}, with_pooler=True)
    assert not passed_on.encoder.pooler.trainable_variables  # nothing reads it
    assert make_model(small_config, {}, with_pooler=True).encoder.pooler.trainable_variables


@pytest.mark.parametrize("adapter_size", [None, 3])
@pytest.mark.parametrize("kind", [*heads.KINDS, None])
def test_every_weight_has_one_record(small_config, kind, adapter_size):
    chosen = {} if kind is None else {kind: HEADS[kind][0]}
    model = make_model(small_config, chosen, with_pooler=True, adapter_size=adapter_size)
    found = records(model)
    weights = [v for v in model.variables if "float" in v.dtype]
    assert {id(record.variable) for record in found} == {id(v) for v in weights}
    assert len({record.name for record in found}) == len(found) == len(weights)
    record_of = by_variable(model)
    assert all(record_of(record.variable) is record or record_of(record.variable) == record for record in found)
    for record in found:
        assert record.transposed == (len(record.variable.shape) == 2 and record.part != "embeddings"), record.name
        assert record.decays == (len(record.variable.shape) == 2), record.name
        # Two blocks: the embeddings lie three below the head, the first block two, the last one.
        layer = next((int(n) for n in (0, 1) if f".layer.{n}." in record.name), None)
        expected = 3 if record.part == "embeddings" else 0 if layer is None else 2 - layer
        assert record.depth == expected, record.name
        assert (record.part == "adapter") == (".adapter." in record.name), record.name
        assert (record.part == "pooler") == (".pooler." in record.name), record.name
    targets = {record.part for record in found if record.layer is not None}
    assert targets == set(model.family.lora_targets)


def test_families_have_what_the_interface_asks_for():
    members = [name for name in (*vars(Family), *Family.__annotations__) if not name.startswith("_")]
    for name in FAMILIES:
        family = family_of(name)
        assert family.model_type == name
        assert all(hasattr(family, member) for member in members)
        assert list(family.architectures.values())[-1] == ()  # the bare encoder
        assert {kind for kinds in family.architectures.values() for kind in kinds} <= set(heads.KINDS)
    assert set(family_of("bert").presets) == set(PRESETS)
    assert all(config.vocab_size is None for config in family_of("bert").presets.values())
    with pytest.raises(InputError, match="model.model_type: expected model_type 'bert'. Received: 'gpt2'"):
        family_of("gpt2")
    with pytest.raises(InputError, match="head: expected one of sequence, .*Received: colour."):
        make_model(preset("tiny", vocab_size=100), {"colour": {}})


def test_operations_of_a_forward_pass_by_hand(small_config):
    model = make_model(small_config, PRETRAINING)
    shapes = {"input_word_ids": (8, 16), "masked_lm_positions": (8, 4)}
    # Width 8, inner width 16, two layers, 50 words: products of [n, k] and [k, m] cost 2 n k m.
    block = 4 * (2 * 128 * 8 * 8) + 2 * (2 * 128 * 8 * 16) + 2 * (2 * 8 * 16 * 16 * 8)
    head = 2 * 32 * 8 * 8 + 2 * 32 * 8 * 50
    assert model.forward_flops(shapes) == 2 * block + head
    assert make_model(small_config, {"tokens": {"units": 2}}).forward_flops(shapes) == 2 * block
    assert make_model(small_config, {}).forward_flops({"input_word_ids": (4, 2, 16)}) == 2 * block
