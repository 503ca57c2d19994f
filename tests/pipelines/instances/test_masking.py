import numpy as np
import pytest

from bert_tf.text.vocabulary import Vocabulary
from pipelines.instances import masking
from pipelines.instances.assembly import assemble
from pipelines.instances.masking import mask_tokens, wanted_predictions
from pipelines.instances.sentence_pairs import Pairs


def assembled(vocabulary: Vocabulary, pairs: Pairs, tokens: list[int], length: int) -> dict[str, np.ndarray]:
    return assemble(
        pairs,
        np.array(tokens, np.int32),
        vocabulary=vocabulary,
        is_continuation=np.array([token.startswith("##") for token in vocabulary.tokens]),
        max_seq_length=length,
    )


def pair(first: int, second: int, count: int = 1) -> Pairs:
    """The same pair several times: tokens 0 to first, and the `second` that follow."""
    ends = (0, first, first, first + second, 0, 0)
    return Pairs(*(np.full(count, end) for end in ends))


def masked(vocabulary, count=200, max_predictions=20, prob=0.15, seed=0, first=20, second=10, length=40, **kwargs):
    """Identical pairs of the token "the"."""
    features = assembled(vocabulary, pair(first, second, count), [vocabulary["the"]] * (first + second), length)
    return features["input_word_ids"], hidden(vocabulary, features, max_predictions, prob, seed, **kwargs)


def hidden(vocabulary, features, max_predictions=20, prob=0.15, seed=0, **kwargs):
    return mask_tokens(
        features["input_word_ids"],
        features["maskable"],
        begins_word=features["begins_word"],
        vocabulary=vocabulary,
        masked_lm_prob=prob,
        max_predictions_per_seq=max_predictions,
        rng=np.random.default_rng(seed),
        **kwargs,
    )


def test_assemble_lays_out_cls_a_sep_b_sep(vocabulary):
    the, cat, able = vocabulary["the"], vocabulary["cat"], vocabulary["##able"]
    pairs = Pairs(*(np.array([end]) for end in (1, 4, 0, 1, 1, 0)))
    features = assembled(vocabulary, pairs, [able, the, cat, able], 9)
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    assert features["input_word_ids"].tolist() == [[cls, the, cat, able, sep, able, sep, 0, 0]]
    assert features["input_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 1, 0, 0]]
    assert features["input_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 0, 0]]
    assert features["maskable"].astype(int).tolist() == [[0, 1, 1, 1, 0, 1, 0, 0, 0]]
    # A segment that was cut inside a word begins one all the same.
    assert features["begins_word"].astype(int).tolist() == [[0, 1, 1, 0, 0, 1, 0, 0, 0]]
    assert features["next_sentence_labels"].tolist() == [[1]]


def test_assemble_lays_out_one_segment_with_a_separator_inside(vocabulary):
    the, cls, sep = vocabulary["the"], vocabulary["[CLS]"], vocabulary["[SEP]"]
    pairs = Pairs(*(np.array([end]) for end in (0, 3, 0, 0, 0, 0)))
    features = assembled(vocabulary, pairs, [the, sep, the], 7)
    assert features["input_word_ids"].tolist() == [[cls, the, sep, the, sep, 0, 0]]
    assert features["input_mask"].tolist() == [[1, 1, 1, 1, 1, 0, 0]]
    assert not features["input_type_ids"].any()
    assert features["maskable"].astype(int).tolist() == [[0, 1, 0, 1, 0, 0, 0]]


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


# Words of 1, 2, 3, 1, 2, 3, ... pieces, ten in the first segment, five in the second.
_SIZES = [1, 2, 3] * 5


@pytest.fixture
def words(vocabulary):
    the, able = vocabulary["the"], vocabulary["##able"]
    pieces = [piece for size in _SIZES for piece in [the] + [able] * (size - 1)]
    return assembled(vocabulary, pair(sum(_SIZES[:10]), sum(_SIZES[10:]), 4000), pieces, 40)


def chosen_words(words, out) -> tuple[np.ndarray, np.ndarray]:
    """Which pieces were chosen, bool [rows, length], and the number of each piece's word."""
    chosen = np.zeros(words["maskable"].shape, bool)
    rows, columns = np.nonzero(out["masked_lm_weights"])
    chosen[rows, out["masked_lm_positions"][rows, columns]] = True
    return chosen, np.cumsum(words["begins_word"], axis=1) * words["maskable"]


@pytest.mark.parametrize("method", ["whole_word", "span"])
def test_words_are_chosen_whole(vocabulary, words, method):
    chosen, word = chosen_words(words, hidden(vocabulary, words, prob=0.3, method=method))
    for number in range(1, 16):
        of_word = word == number
        pieces = (chosen & of_word).sum(axis=1)
        assert set(np.unique(pieces)) == {0, _SIZES[number - 1]}
    # 33 tokens: round(0.3 * 33) = 10.
    counts = chosen.sum(axis=1)
    assert counts.max() == 10
    assert (counts >= 8).mean() > 0.99


def test_whole_words_are_equally_likely_whatever_their_place(vocabulary, words):
    chosen, word = chosen_words(words, hidden(vocabulary, words, prob=0.3, method="whole_word"))
    shares = np.array([(chosen & (word == number)).any(axis=1).mean() for number in range(1, 16)])
    for size in (0, 1, 2):
        # Five words of each size: their shares differ by chance alone. Five standard deviations.
        same = shares[size::3]
        deviation = (same.mean() * (1 - same.mean()) / 4000) ** 0.5
        assert np.abs(same - same.mean()).max() < 5 * deviation


def test_spans_are_runs_of_words_with_one_fate_each(vocabulary, words):
    out = hidden(vocabulary, words, prob=0.3, method="span")
    chosen, word = chosen_words(words, out)
    lengths = []
    for row in range(400):
        places = np.flatnonzero(chosen[row])
        for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            lengths.append(len(np.unique(word[row, run])))
            now, before = out["input_word_ids"][row, run], words["input_word_ids"][row, run]
            # Hidden or left alone as a whole; a random token may be [MASK] or the token itself by chance.
            if (now == vocabulary["[MASK]"]).sum() > 1:
                assert (now == vocabulary["[MASK]"]).all()
            elif (now == before).sum() > 1:
                assert (now == before).all()
    # Five words a row: a first span of some 3.4 (geometric, cut at ten words and by the segment), then what is left.
    assert 1.6 < np.mean(lengths) < 3.4


class Draws:
    """Stands for a generator of random numbers: lengths and places of spans as they are given."""

    def __init__(self, spans: list[tuple[int, int]], words: int):
        self._spans, self._words = list(spans), words

    def geometric(self, p, size):
        self._place, length = self._spans.pop(0) if self._spans else (0, 1)
        return np.full(size, length)

    def random(self, size):
        return np.full(size, (self._place + 0.5) / self._words)


@pytest.mark.parametrize(
    ("spans", "wanted", "expected"),
    [
        ([(9, 10)], 10, {9}),  # the first segment's last word: [SEP] stands behind it
        ([(8, 10)], 10, {8, 9}),
        ([(10, 3)], 10, {10, 11, 12}),
        ([(3, 1), (4, 2), (2, 1), (5, 1)], 10, {3, 5}),  # what would touch another span is not taken
        ([(3, 2), (0, 10)], 10, {3, 4, 0, 1}),  # nor is its end; 1 + 2 pieces, then 1 + 2
        ([(0, 10)], 4, {0, 1}),  # 1 + 2 pieces, and 3 more are too many
        ([(2, 5)], 2, set()),  # a word of three pieces
    ],
)
def test_spans_end_with_the_segment_the_share_and_before_others(words, spans, wanted, expected):
    rows = slice(0, 2)
    maskable, begins = words["maskable"][rows], words["begins_word"][rows]
    chosen = masking._choose_spans(maskable, begins, np.full(2, wanted), Draws(spans, 15))
    word = np.cumsum(begins, axis=1) - 1
    found = set(word[0][chosen[0]].tolist())
    assert expected <= found <= expected | {0}  # when the spans are used up, the stand-in draws the first word
    np.testing.assert_array_equal(chosen[0], chosen[1])


def test_span_fates_come_with_their_shares(vocabulary, words):
    out = hidden(vocabulary, words, prob=0.3, method="span")
    now = np.take_along_axis(out["input_word_ids"], out["masked_lm_positions"], axis=1)
    is_prediction = out["masked_lm_weights"] == 1
    # The first prediction of each row opens a span: 4000 independent draws, five standard deviations.
    share = (now[:, 0] == vocabulary["[MASK]"])[is_prediction[:, 0]].mean()
    assert share == pytest.approx(0.8 + 0.1 / len(vocabulary), abs=5 * (0.16 / 4000) ** 0.5)


def test_a_word_longer_than_the_share_is_left_out(vocabulary):
    tokens = [vocabulary["the"]] + [vocabulary["##able"]] * 9
    features = assembled(vocabulary, pair(9, 1), tokens, 16)
    for method in ("whole_word", "span"):
        out = hidden(vocabulary, features, prob=0.15, method=method)
        # 13 tokens: 2 predictions; the first word has nine pieces, the second segment's is one.
        assert out["masked_lm_positions"][out["masked_lm_weights"] == 1].tolist() == [11]


def test_wanted_predictions_is_the_papers_rule():
    assert wanted_predictions(np.array([3, 10, 30, 128, 512]), 0.15, 20).tolist() == [1, 2, 4, 19, 20]
