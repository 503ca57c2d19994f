"""Masked LM with pairs, without, and on packed rows."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_tf.core.errors import InputError
from bert_tf.core.records import RecordLayout
from bert_tf.interop import huggingface
from bert_tf.models.family import architecture_of, records
from bert_tf.objectives.masked_lm import MaskedLM
from bert_tf.objectives.objective import objective_named
from bert_tf.text.tokenizer_config import TokenizerConfig
from tests.support.batches import without_pairs
from tests.support.google_checkpoint import VOCABULARY
from tests.support.training import OneStep, masked_lm, randomized, sums_of


def test_it_reads_what_the_layout_stores_and_weighs_unpacked_rows(pretraining_batch):
    features = masked_lm().features()
    assert set(features) == set(pretraining_batch)
    for name, (shape, dtype) in features.items():
        assert (pretraining_batch[name].shape, str(pretraining_batch[name].dtype)) == ((8, *shape), dtype), name
    assert set(masked_lm(has_pairs=False).features()) == set(without_pairs(pretraining_batch))
    packed = masked_lm(packed=3).features()
    assert packed["next_sentence_weights"] == packed["next_sentence_positions"][:1] + ("float32",)
    assert packed["next_sentence_weights"][0] == (3,)


def test_without_pairs_neither_pooler_nor_pair_head_exists_decays_or_is_saved(
    small_config, pretraining_batch, tmp_path
):
    objective = masked_lm(has_pairs=False)
    assert objective.losses == ("masked_lm_loss",)
    assert objective.metrics == ("masked_lm_loss", "masked_lm_accuracy")
    model = randomized(objective.make_model(small_config, "float32"))
    assert model.encoder.pooler is None and model.kinds == ("masked_lm",)
    assert architecture_of(model) == "BertForMaskedLM"
    names = {record.name for record in records(model)}
    assert not [name for name in names if "pooler" in name or "seq_relationship" in name]
    # One step moves every weight there is, so none is kept for nothing.
    batch = without_pairs(pretraining_batch)
    before = [np.asarray(v).copy() for v in model.trainable_variables]
    step = OneStep(model, objective)
    assert set(step.pieces.denominators(batch)) == {"masked_lm_loss"}
    step.run(batch, 3)
    assert all((np.asarray(v) != old).any() for v, old in zip(model.trainable_variables, before, strict=True))
    ((folder, saved),) = objective.saved(model).items()
    huggingface.save(
        str(tmp_path / folder), saved, vocabulary=VOCABULARY, tokenizer=TokenizerConfig(), max_seq_length=16
    )
    assert json.loads((tmp_path / "model/config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert set(load_file(tmp_path / "model/model.safetensors")) == names


def test_the_masked_lm_part_is_the_same_with_pairs_and_without(small_config, pretraining_batch):
    whole = randomized(masked_lm().make_model(small_config, "float32"))
    alone = masked_lm(has_pairs=False).make_model(small_config, "float32")
    values = {record.name: record.variable for record in records(whole)}
    for record in records(alone):
        record.variable.assign(values[record.name])
    both, _ = sums_of(whole, masked_lm(), pretraining_batch)
    one, outputs = sums_of(alone, masked_lm(has_pairs=False), without_pairs(pretraining_batch))
    assert set(outputs) == {"masked_lm_logits"}
    assert one == {name: pytest.approx(both[name], rel=1e-5) for name in one}


def test_packed_sequences_have_the_losses_they_have_alone(small_config, pretraining_batch):
    """Two rows of 8 tokens, each alone and both in one row of 16."""
    rng = np.random.default_rng(3)
    model = randomized(masked_lm().make_model(small_config, "float32"))
    ids = rng.integers(5, 50, (2, 8)).astype(np.int32)
    alone = {
        "input_word_ids": np.pad(ids, [(0, 0), (0, 8)]),
        "input_mask": np.pad(np.ones((2, 8), np.int32), [(0, 0), (0, 8)]),
        "input_type_ids": np.zeros((2, 16), np.int32),
        "masked_lm_positions": np.array([[1, 3, 0, 0], [2, 5, 0, 0]], np.int32),
        "masked_lm_ids": np.array([[7, 8, 0, 0], [9, 10, 0, 0]], np.int32),
        "masked_lm_weights": np.array([[1, 1, 0, 0], [1, 1, 0, 0]], np.float32),
        "next_sentence_labels": np.array([[1], [0]], np.int32),
        "next_sentence_weights": np.ones((2, 1), np.float32),
    }
    packed = {
        "input_word_ids": ids.reshape(1, 16),
        "input_mask": np.ones((1, 16), np.int32),
        "input_type_ids": np.zeros((1, 16), np.int32),
        "position_ids": np.tile(np.arange(8, dtype=np.int32), 2)[None],
        "sequence_ids": np.repeat(np.array([1, 2], np.int32), 8)[None],
        "masked_lm_positions": np.array([[1, 3, 10, 13]], np.int32),
        "masked_lm_ids": np.array([[7, 8, 9, 10]], np.int32),
        "masked_lm_weights": np.ones((1, 4), np.float32),
        "next_sentence_positions": np.array([[0, 8, 0]], np.int32),
        "next_sentence_labels": np.array([[1, 0, 0]], np.int32),
        "next_sentence_weights": np.array([[1, 1, 0]], np.float32),
    }
    expected, _ = sums_of(model, masked_lm(), alone)
    found, outputs = sums_of(model, masked_lm(packed=3), packed)
    assert outputs["next_sentence_logits"].shape == (1, 3, 2)
    assert found == {name: pytest.approx(pair, rel=1e-5) for name, pair in expected.items()}


def test_perplexity_is_that_of_the_masked_tokens():
    assert masked_lm().derived({"masked_lm_loss": math.log(7.0), "next_sentence_loss": 1.0}) == {
        "perplexity": pytest.approx(7.0, rel=1e-6)
    }
    assert masked_lm().derived({}) == {}  # nothing was masked


def test_the_table_of_objectives_names_what_is_asked_for():
    layout = RecordLayout(max_seq_length=16, max_predictions_per_seq=4)
    found = objective_named("masked_lm", layout)
    assert isinstance(found, MaskedLM) and found.layout == layout
    with pytest.raises(InputError, match="objective=colour: expected one of masked_lm"):
        objective_named("colour", layout)
