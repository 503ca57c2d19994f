import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_tf.core.records import RecordLayout
from bert_tf.models.bert.config import BertConfig
from bert_tf.objectives.masked_lm import MaskedLM
from pipelines.instances.packing import Packing, pack, pack_rows
from tests.models.test_modeling import built
from tests.support.training import sums_of

LAYOUT = RecordLayout(max_seq_length=16, max_predictions_per_seq=4, max_sequences_per_row=3)


def rows_of(packing: Packing) -> list[list[int]]:
    return [part.tolist() for part in np.split(packing.instances, packing.rows[1:-1])]


def test_longest_first_into_the_tightest_row():
    packing = pack(np.array([6, 10, 9, 7, 4, 12]), np.ones(6, int), LAYOUT)
    # 12 opens a row, 10 and 9 too; 7 fits 9 exactly, 6 fits 10 exactly, 4 fits 12 exactly.
    assert rows_of(packing) == [[5, 4], [1, 0], [2, 3]]


def test_predictions_and_sequences_are_limits_too():
    assert rows_of(pack(np.array([4, 4, 4, 4]), np.array([1, 1, 1, 1]), LAYOUT)) == [[0, 1, 2], [3]]
    assert rows_of(pack(np.array([4, 4, 4]), np.array([3, 2, 1]), LAYOUT)) == [[0], [1, 2]]


@given(st.lists(st.tuples(st.integers(3, 16), st.integers(0, 4)), max_size=60))
def test_every_instance_lies_in_one_row_within_all_limits(instances):
    lengths, predictions = (np.array([i[n] for i in instances], int) for n in (0, 1))
    packing = pack(lengths, predictions, LAYOUT)
    assert sorted(packing.instances.tolist()) == list(range(len(instances)))
    for row in rows_of(packing) if instances else []:
        assert 1 <= len(row) <= 3
        assert lengths[row].sum() <= 16
        assert predictions[row].sum() <= 4
    order = np.arange(len(packing))[::-1]
    assert rows_of(packing.take(order)) == rows_of(packing)[::-1]


def test_little_of_a_row_is_padding():
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(5000) < 0.3, 512, rng.integers(20, 513, 5000))
    layout = RecordLayout(max_seq_length=512, max_predictions_per_seq=80, max_sequences_per_row=32)
    packing = pack(lengths, np.minimum(80, np.rint(lengths * 0.15).astype(int)), layout)
    assert 1 - lengths.sum() / (len(packing) * 512) < 0.03


def instance_features(config: BertConfig, lengths: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Random instances as a record has them, length 16, four predictions."""
    rng = np.random.default_rng(seed)
    count, position = len(lengths), np.arange(16)
    used = position < np.array(lengths)[:, None]
    predictions = np.array([min(4, max(1, length // 4)) for length in lengths])
    is_prediction = np.arange(4) < predictions[:, None]
    positions = np.sort([rng.choice(np.arange(1, 3 + length // 2), 4, replace=length < 8) for length in lengths])
    features = {
        "input_word_ids": np.where(used, rng.integers(5, config.vocab_size, used.shape), 0),
        "input_mask": used.astype(np.int32),
        "input_type_ids": (used & (position >= np.array(lengths)[:, None] // 2)).astype(np.int32),
        "masked_lm_positions": np.where(is_prediction, positions, 0),
        "masked_lm_ids": np.where(is_prediction, rng.integers(5, config.vocab_size, positions.shape), 0),
        "masked_lm_weights": is_prediction.astype(np.float32),
        "next_sentence_labels": rng.integers(0, 2, (count, 1)),
    }
    return {name: v if v.dtype == np.float32 else v.astype(np.int32) for name, v in features.items()}


def test_rows_are_laid_out_one_sequence_behind_the_other(small_config):
    features = instance_features(small_config, [5, 4, 7])
    packed = pack_rows(features, np.array([2, 1]), LAYOUT, pad=9)
    assert set(packed) == set(LAYOUT.features)
    assert packed["sequence_ids"].tolist() == [[1] * 5 + [2] * 4 + [0] * 7, [1] * 7 + [0] * 9]
    assert packed["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3] + [0] * 7
    assert packed["input_word_ids"][0, :5].tolist() == features["input_word_ids"][0, :5].tolist()
    assert packed["input_word_ids"][0, 5:].tolist() == [*features["input_word_ids"][1, :4], *[9] * 7]
    first, second = (features["masked_lm_positions"][i, 0] for i in (0, 1))
    assert packed["masked_lm_positions"][0].tolist() == [first, second + 5, 0, 0]
    assert packed["masked_lm_weights"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    labels = features["next_sentence_labels"][:, 0].tolist()
    assert packed["next_sentence_labels"].tolist() == [[*labels[:2], 0], [labels[2], 0, 0]]
    assert packed["next_sentence_positions"].tolist() == [[0, 5, 0], [0, 0, 0]]
    assert packed["next_sentence_weights"].tolist() == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("has_pairs", [True, False])
def test_packed_logits_equal_the_unpacked(small_config, has_pairs):
    lengths = [5, 4, 7, 16, 3, 8, 8, 6, 6, 4]
    features = instance_features(small_config, lengths)
    layout = RecordLayout(max_seq_length=16, max_predictions_per_seq=4, max_sequences_per_row=3, has_pairs=has_pairs)
    packing = pack(np.array(lengths), features["masked_lm_weights"].sum(axis=1).astype(int), layout)
    assert len(packing) == 5
    ordered = {name: values[packing.instances] for name, values in features.items()}
    packed = pack_rows(ordered, np.diff(packing.rows), layout, pad=0)
    packed = {name: v if v.dtype == np.float32 else v.astype(np.int32) for name, v in packed.items()}

    model = built(small_config)
    apart, together = model(ordered), model(packed)
    weights = ordered["masked_lm_weights"] == 1
    expected = np.asarray(apart["masked_lm_logits"])[weights]
    np.testing.assert_allclose(
        np.asarray(together["masked_lm_logits"])[packed["masked_lm_weights"] == 1], expected, atol=1e-5
    )
    assert np.ptp(expected) > 1
    if has_pairs:
        np.testing.assert_allclose(
            np.asarray(together["next_sentence_logits"])[packed["next_sentence_weights"] == 1],
            np.asarray(apart["next_sentence_logits"]),
            atol=1e-5,
        )
        ordered["next_sentence_weights"] = np.ones((len(lengths), 1), np.float32)
        objective = MaskedLM(layout)
        expected_sums, sums = (sums_of(model, objective, rows)[0] for rows in (ordered, packed))
        assert set(sums) == set(objective.metrics)
        for name, found in sums.items():
            assert found == pytest.approx(expected_sums[name], rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_rows_without_a_token_give_numbers(small_config, precision):
    features = instance_features(small_config, [5, 4, 7])
    packed = pack_rows(features, np.array([2, 1]), LAYOUT, pad=0)
    packed = {name: np.concatenate([v, np.zeros_like(v)]) for name, v in packed.items()}
    packed = {name: v if v.dtype == np.float32 else v.astype(np.int32) for name, v in packed.items()}
    outputs = built(small_config, dtype=precision)(packed)
    assert all(np.isfinite(np.asarray(values, np.float32)).all() for values in outputs.values())
