"""Frozen layers, layer-wise rates, LoRA and adapters."""

import dataclasses

import keras
import numpy as np
import pytest

from bert_tf.core.config import OptimizerConfig, TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import adapters, huggingface
from bert_tf.models import tuning
from bert_tf.models.bert.config import BertConfig, preset
from bert_tf.models.model import INPUTS, Model, make_model
from bert_tf.objectives.supervised import Supervised
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.support.training import OneStep


def made(config: BertConfig, seed=0, **arguments) -> Model:
    keras.utils.set_random_seed(seed)
    return make_model(config, {"sequence": {"units": 3, "dropout": 0.0}}, **arguments)


@pytest.fixture
def batch(pretraining_batch):
    labels = np.arange(8, dtype=np.int32) % 3
    kept = {name: pretraining_batch[name] for name in INPUTS}
    return {**kept, "label_ids": labels, "label_weights": np.ones(8, np.float32)}


def steps(model, batch, count=3, **settings):
    """Runs some optimizer steps and writes the weights back."""
    optimizer = OptimizerConfig(learning_rate=0.05, warmup_steps=0)
    objective = Supervised("classification_loss")
    OneStep(model, objective, optimizer=optimizer, steps=100, global_batch_size=8, **settings).run(batch, count)


def values(model):
    floats = [v for v in model.variables if "float" in v.dtype]
    return {f"{i} {v.path.partition('/')[2]}": np.asarray(v) for i, v in enumerate(floats)}


def moved(before, after):
    return {name.split(" ")[1] for name in before if not np.array_equal(before[name], after[name])}


BLOCKS = ("embeddings/", "layer_0/", "layer_1/")


@pytest.mark.parametrize(
    ("frozen", "still"),
    [(1, ("embeddings/", "layer_0/")), (2, BLOCKS), (3, BLOCKS), (-1, ("bert/",))],
)
def test_frozen_layers_do_not_move(small_config, batch, frozen, still):
    model = made(small_config)
    tuning.prepare(model, TuningConfig(frozen_layers=frozen))
    before = values(model)
    steps(model, batch)
    changed = moved(before, values(model))
    assert changed
    for name in before:
        path = name.split(" ")[1]
        assert (path not in changed) == any(part in path for part in still), path


def test_rates_fall_with_the_depth(small_config):
    model = made(small_config)
    shares = dict(zip((v.path for v in model.trainable_variables), tuning.rate_shares(model, 0.5), strict=True))
    for part, expected in (
        ("embeddings/", 0.125),
        ("layer_0/", 0.25),
        ("layer_1/", 0.5),
        ("pooler/", 1),
        ("classifier/", 1),
    ):
        found = {share for path, share in shares.items() if part in path}
        assert found == {expected}, part


def test_a_share_of_the_rate_scales_the_change(small_config, batch):
    whole, halved = made(small_config), made(small_config)
    start = values(whole)
    steps(whole, batch, count=1)
    steps(halved, batch, count=1, shares=[0.5] * len(halved.trainable_variables))
    for name, value in values(whole).items():
        np.testing.assert_allclose(values(halved)[name] - start[name], 0.5 * (value - start[name]), atol=1e-6)


def test_lora_changes_nothing_at_first_and_learns_under_a_percent():
    config = preset("small", vocab_size=30_522)
    model = made(config)
    batch = {
        "input_word_ids": np.full((1, 4), 7, np.int32),
        "input_mask": np.ones((1, 4), np.int32),
        "input_type_ids": np.zeros((1, 4), np.int32),
    }
    before = np.asarray(model(batch)["logits"])
    tuning.prepare(model, TuningConfig(method="lora", lora_rank=8))
    np.testing.assert_array_equal(before, np.asarray(model(batch)["logits"]))
    learning, every = tuning.trained_share(model)
    # Two products, 512 x 8 and 8 x 512, for query and value of four blocks, and the head.
    assert learning == 4 * 2 * 2 * 512 * 8 + 3 * 512 + 3
    assert learning / every < 0.01


@pytest.mark.parametrize(
    "settings",
    [
        TuningConfig(method="lora", lora_rank=2),
        TuningConfig(method="lora", lora_rank=2, lora_targets=("key", "attention_output", "intermediate", "output")),
        TuningConfig(method="adapters", adapter_size=3),
    ],
    ids=["lora", "lora-elsewhere", "adapters"],
)
def test_what_learned_is_saved_alone_and_merges(small_config, batch, tmp_path, settings):
    more = {"adapter_size": settings.adapter_size} if settings.method == "adapters" else {}
    model = made(small_config, **more)
    tuning.prepare(model, settings)
    before, first = values(model), np.asarray(model(batch)["logits"])
    steps(model, batch)
    expected = np.asarray(model(batch)["logits"])
    assert np.abs(expected - first).max() > 0.01
    kinds = ("lora", "classifier") if settings.method == "lora" else ("adapter", "classifier")
    assert all(any(kind in path for kind in kinds) for path in moved(before, values(model)))
    adapters.save(str(tmp_path / "adapter"), model, settings, base="x", settings={})

    again = made(small_config, **more)  # the same frozen weights, from the same seed
    adapters.load(str(tmp_path / "adapter"), again)
    np.testing.assert_allclose(np.asarray(again(batch)["logits"]), expected, atol=1e-6)

    vocabulary = Vocabulary((*SPECIAL_TOKENS, *(f"t{i}" for i in range(45))))
    huggingface.save(
        str(tmp_path / "model"),
        model,
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(),
        max_seq_length=16,
    )
    merged = made(small_config, seed=1, **more)
    huggingface.load_all_weights(str(tmp_path / "model"), merged)
    np.testing.assert_allclose(np.asarray(merged(batch)["logits"]), expected, atol=1e-5)


def test_an_adapter_of_another_model_is_refused(small_config, tmp_path):
    settings = TuningConfig(method="lora", lora_rank=2)
    model = made(small_config)
    tuning.prepare(model, settings)
    adapters.save(str(tmp_path), model, settings, base="x", settings={})
    other = made(dataclasses.replace(small_config, num_hidden_layers=3))
    with pytest.raises(InputError, match="model.bert.encoder.layer.2.*without it, of another model"):
        adapters.load(str(tmp_path), other)


def test_a_part_that_the_family_does_not_have_is_refused(small_config):
    with pytest.raises(InputError, match=r"tuning.lora_targets: expected some of query, key, .*\. Received: colour\."):
        tuning.prepare(made(small_config), TuningConfig(method="lora", lora_targets=("query", "colour")))


def test_what_the_source_did_not_have_learns_whatever_is_frozen(small_config):
    model = made(small_config)
    fresh = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    tuning.prepare(model, TuningConfig(method="lora"), learning=fresh)
    learning = {v.path.partition("/")[2] for v in model.trainable_variables}
    assert {"bert/pooler/kernel", "bert/pooler/bias", "classifier/kernel", "classifier/bias"} <= learning
    assert all("lora" in name for name in learning if not name.startswith(("bert/pooler", "classifier")))


def test_rates_of_what_lora_added_are_those_of_its_block(small_config):
    model = made(small_config)
    tuning.prepare(model, TuningConfig(method="lora", lora_rank=2))
    shares = dict(zip((v.path for v in model.trainable_variables), tuning.rate_shares(model, 0.5), strict=True))
    for part, expected in (("layer_0/", 0.25), ("layer_1/", 0.5), ("classifier/", 1)):
        assert {share for path, share in shares.items() if part in path} == {expected}, part
