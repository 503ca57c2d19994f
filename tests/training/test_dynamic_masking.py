import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_tf.training.data import dynamic_masking
from bert_tf.training.data.dynamic_masking import Masking

_VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *(f"w{i}" for i in range(995))))
_LENGTH = 40


def rows(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of 5 to 40 positions of ordinary tokens between [CLS] and [SEP]; every tenth row is blank."""
    rng = np.random.default_rng(seed)
    lengths = np.where(np.arange(count) % 10 == 9, 0, rng.integers(5, _LENGTH + 1, count))
    mask = (np.arange(_LENGTH) < lengths[:, None]).astype(np.int32)
    ids = rng.integers(5, 1000, (count, _LENGTH)).astype(np.int32) * mask
    ids[:, 0] = _VOCABULARY["[CLS]"] * mask[:, 0]
    ends = np.maximum(lengths - 1, 0)
    ids[np.arange(count), ends] = np.where(lengths > 0, _VOCABULARY["[SEP]"], 0)
    return {"input_word_ids": ids, "input_mask": mask}


def masked(batch, *, number=0, parts=range(1), seed=(7, 1), predictions=5):
    masking = Masking(_VOCABULARY, 0.15, predictions)
    batch = {name: tf.constant(x) for name, x in batch.items()}
    found = dynamic_masking.mask(batch, masking, seed=list(seed), number=tf.constant(number, tf.int64), parts=parts)
    return {name: x.numpy() for name, x in found.items()}


def test_rows_keep_their_shares_and_hide_what_they_say():
    batch = rows(500)
    found = masked(batch)
    lengths = batch["input_mask"].sum(axis=1)
    wanted = np.where(lengths > 0, np.minimum(5, np.maximum(1, np.rint(lengths * 0.15))), 0)
    np.testing.assert_array_equal(found["masked_lm_weights"].sum(axis=1), wanted)
    restored = found["input_word_ids"].copy()
    for row in range(500):
        count = int(wanted[row])
        positions = found["masked_lm_positions"][row, :count]
        assert (np.diff(positions) > 0).all()
        assert not np.isin(batch["input_word_ids"][row, positions], [0, 2, 3]).any()  # [PAD], [CLS], [SEP]
        restored[row, positions] = found["masked_lm_ids"][row, :count]
        assert not found["masked_lm_positions"][row, count:].any()
        assert not found["masked_lm_ids"][row, count:].any()
    np.testing.assert_array_equal(restored, batch["input_word_ids"])


def test_what_is_drawn_has_the_papers_shares():
    batch = rows(4000)
    found = masked(batch)
    chosen = found["masked_lm_weights"] == 1
    now = np.take_along_axis(found["input_word_ids"], found["masked_lm_positions"], axis=1)[chosen]
    total = chosen.sum()
    hidden = (now == _VOCABULARY["[MASK]"]).sum()
    kept = (now == found["masked_lm_ids"][chosen]).sum()
    # 10% stay, and of the 10% random ones 1 in 1,000 happens to be the same; likewise a random [MASK].
    assert stats.binomtest(int(hidden), int(total), 0.8001).pvalue > 1e-4
    assert stats.binomtest(int(kept), int(total), 0.1001).pvalue > 1e-4
    # Every place between [CLS] and [SEP] of the full rows is as likely as any other.
    full = batch["input_mask"].sum(axis=1) == _LENGTH
    counts = np.bincount(found["masked_lm_positions"][full][chosen[full]], minlength=_LENGTH)[1:-1]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("change", [{"number": 1}, {"seed": (8, 1)}, {"seed": (7, 2)}, {"parts": range(1, 2)}])
def test_masks_depend_on_seed_batch_and_part(change):
    batch = rows(50)
    np.testing.assert_array_equal(masked(batch)["masked_lm_positions"], masked(batch)["masked_lm_positions"])
    assert (masked(batch)["masked_lm_positions"] != masked(batch, **change)["masked_lm_positions"]).any()


def test_a_part_is_masked_alike_wherever_it_is_read():
    batch = rows(40)
    whole = masked(batch, parts=range(4))
    for part in range(4):
        alone = masked({name: x[part * 10 : part * 10 + 10] for name, x in batch.items()}, parts=range(part, part + 1))
        for name in alone:
            np.testing.assert_array_equal(alone[name], whole[name][part * 10 : part * 10 + 10])


def test_more_predictions_than_positions():
    found = masked(rows(20), predictions=60)
    assert found["masked_lm_positions"].shape == (20, 60)
    assert not found["masked_lm_weights"][:, _LENGTH:].any()
