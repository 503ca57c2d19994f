import numpy as np
import pytest

from pipelines.masking import mask_tokens
from pipelines.pool import assemble
from pipelines.sentence_pairs import Pairs


def rows(vocabulary, count: int, first: int = 20, second: int = 10, length: int = 40):
    """Identical pairs of the token "the"."""
    tokens = np.full(first + second, vocabulary["the"], np.int32)
    ends = (0, first, first, first + second, 0, 0)
    features = assemble(Pairs(*(np.full(count, end) for end in ends)), tokens, vocabulary, length)
    return features["input_word_ids"], features["maskable"]


def masked(vocabulary, count=200, max_predictions=20, prob=0.15, seed=0, **sizes):
    word_ids, maskable = rows(vocabulary, count, **sizes)
    rng = np.random.default_rng(seed)
    return word_ids, mask_tokens(
        word_ids,
        maskable,
        vocabulary=vocabulary,
        masked_lm_prob=prob,
        max_predictions_per_seq=max_predictions,
        rng=rng,
    )


def test_assemble_lays_out_cls_a_sep_b_sep(vocabulary):
    the, cat = vocabulary["the"], vocabulary["cat"]
    pairs = Pairs(*(np.array([end]) for end in (1, 3, 0, 1, 1, 0)))
    features = assemble(pairs, np.array([cat, the, cat], np.int32), vocabulary, 8)
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    assert features["input_word_ids"].tolist() == [[cls, the, cat, sep, cat, sep, 0, 0]]
    assert features["input_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]
    assert features["input_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    assert features["maskable"].tolist() == [[False, True, True, False, True, False, False, False]]
    assert features["next_sentence_labels"].tolist() == [[1]]


def test_never_masks_cls_sep_or_padding(vocabulary):
    word_ids, out = masked(vocabulary)
    the = vocabulary["the"]
    chosen = out["masked_lm_weights"] == 1
    assert (out["masked_lm_ids"][chosen] == the).all()
    untouched = word_ids != the
    np.testing.assert_array_equal(out["input_word_ids"][untouched], word_ids[untouched])


@pytest.mark.parametrize(
    ("first", "second", "max_predictions", "expected"),
    [(20, 10, 20, 5), (1, 1, 20, 1), (60, 60, 5, 5), (13, 14, 20, 4), (2, 1, 1, 1)],
)
def test_number_of_predictions_is_the_rounded_share(vocabulary, first, second, max_predictions, expected):
    # round(0.15 x (first + second + 3)), at least 1, at most max_predictions; 0.15 x 30 = 4.5 rounds to even.
    _, out = masked(vocabulary, 10, max_predictions, first=first, second=second, length=128)
    assert (out["masked_lm_weights"].sum(axis=1) == expected).all()


def test_positions_are_ascending_unique_and_padded_with_zero(vocabulary):
    _, out = masked(vocabulary)
    for positions, ids, weights in zip(
        out["masked_lm_positions"], out["masked_lm_ids"], out["masked_lm_weights"], strict=True
    ):
        count = int(weights.sum())
        assert weights.tolist() == [1.0] * count + [0.0] * (20 - count)
        assert (np.diff(positions[:count]) > 0).all()
        assert not positions[count:].any()
        assert not ids[count:].any()


def test_fewer_positions_than_predictions_still_fill_the_width(vocabulary):
    _, out = masked(vocabulary, 3, 30, first=2, second=2, length=8)
    assert out["masked_lm_positions"].shape == (3, 30)


def test_everything_hidden_at_rate_one(vocabulary):
    _, out = masked(vocabulary, 5, 60, prob=0.999)
    assert (out["masked_lm_weights"].sum(axis=1) == 30).all()


def test_shares_of_mask_random_and_kept(vocabulary):
    _, out = masked(vocabulary, count=8000)
    chosen = out["masked_lm_weights"] == 1
    now = np.take_along_axis(out["input_word_ids"], out["masked_lm_positions"], axis=1)[chosen]
    n = chosen.sum()
    # A random token is [MASK] or "the" itself with probability 1/len(vocabulary) each. Five standard deviations.
    chance = 0.1 / len(vocabulary)
    for share, expected in [
        ((now == vocabulary["[MASK]"]).mean(), 0.8 + chance),
        ((now == vocabulary["the"]).mean(), 0.1 + chance),
    ]:
        assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / n) ** 0.5)


def test_every_position_is_equally_likely(vocabulary):
    _, out = masked(vocabulary, count=8000)
    chosen = out["masked_lm_weights"] == 1
    counts = np.bincount(out["masked_lm_positions"][chosen], minlength=40)
    maskable = [i for i in range(1, 32) if i != 21]
    p = 5 / 30
    deviation = 5 * (8000 * p * (1 - p)) ** 0.5
    assert np.abs(counts[maskable] - 8000 * p).max() < deviation
    assert counts.sum() == counts[maskable].sum()
