import collections

import numpy as np
import pytest

from pipelines.instances.sentence_pairs import (
    Pairs,
    TokenPool,
    _truncate,
    full_sentences,
    next_sentence_pairs,
    sentence_order_pairs,
)
from pipelines.reading.documents import document_id, split_sentences


def pool_of(**documents: list[int]) -> TokenPool:
    """Documents by name, as lengths of their sentences; tokens count up, so that each tells where it stood."""
    lengths = [length for sentences in documents.values() for length in sentences]
    return TokenPool(
        tokens=np.arange(sum(lengths), dtype=np.int32),
        sentences=np.cumsum([0, *lengths]),
        documents=np.cumsum([0, *map(len, documents.values())]),
        identities=[name.rstrip("_").encode() for name in documents],
    )


def pairs_of(pool: TokenPool, index=0, seed=0, length=16, short=0.0) -> list[tuple[list[int], list[int], bool]]:
    """(first, second, is_random_next) of one document."""
    rng = np.random.default_rng(seed)
    made = next_sentence_pairs(pool, max_seq_length=length, short_seq_prob=short, rng=rng)
    tokens = pool.tokens.tolist()
    return [
        (tokens[a:b], tokens[c:d], bool(random))
        for a, b, c, d, random, document in zip(*vars(made).values(), strict=True)
        if document == index
    ]


def test_two_sentences_that_fit_become_next_or_random_by_a_fair_coin():
    pool = pool_of(a=[4, 5], b=[6])
    labels = collections.Counter()
    for seed in range(2000):
        first, second, is_random = pairs_of(pool, seed=seed)[0]
        assert first == [0, 1, 2, 3]
        assert second == (list(range(9, 15)) if is_random else list(range(4, 9)))
        labels[is_random] += 1
    # Binomial(2000, 0.5) has standard deviation 22.4; five of them.
    assert abs(labels[True] - 1000) < 112


def test_single_sentence_always_gets_a_random_second_segment():
    assert all(pairs_of(pool_of(a=[4], b=[6]), seed=seed)[0][2] for seed in range(50))


def test_single_sentence_without_another_document_gives_no_pair():
    assert pairs_of(pool_of(a=[4])) == []
    assert pairs_of(pool_of()) == []


def test_without_another_document_every_label_says_next():
    for seed in range(50):
        assert not any(is_random for _, _, is_random in pairs_of(pool_of(a=[4, 4, 4, 4]), seed=seed))


def test_random_second_segment_never_comes_from_the_same_document():
    # The pool holds document "a" twice, as with dupe_factor 2.
    pool = pool_of(a=[3, 3, 3], a_=[3, 3, 3], b=[5])
    for seed in range(300):
        for _, second, is_random in pairs_of(pool, seed=seed):
            assert not is_random or min(second) >= 18


def test_sentences_unused_by_a_random_next_open_the_next_pair():
    for seed in range(200):
        pairs = pairs_of(pool_of(a=[5, 5, 5, 5], b=[20]), seed=seed)
        own = [token for first, second, is_random in pairs for token in first + second * (not is_random)]
        # 13 tokens fit: truncation may drop some, but no sentence is skipped or used twice.
        assert len(own) == len(set(own))
        assert {token // 5 for token in own} == {0, 1, 2, 3}


def test_pairs_fit_and_no_segment_is_empty():
    rng = np.random.default_rng(3)
    pool = pool_of(**{f"d{i}": rng.integers(1, 40, rng.integers(1, 12)).tolist() for i in range(30)})
    for index in range(30):
        for first, second, _ in pairs_of(pool, index, seed=index, length=32, short=0.5):
            assert first and second
            assert len(first) + len(second) <= 29


def truncated(first: int, second: int, max_tokens: int, count: int = 1, seed: int = 0) -> Pairs:
    ends = [[0] * count, [first] * count, [first] * count, [first + second] * count, [0] * count, [0] * count]
    return _truncate(Pairs(*map(np.array, ends)), max_tokens, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ((10, 3), 10, (7, 3)),
        ((3, 10), 10, (3, 7)),
        ((9, 9), 10, (5, 5)),
        ((20, 1), 10, (9, 1)),
        ((4, 5), 10, (4, 5)),
        ((6, 6), 11, (6, 5)),
    ],
)
def test_truncation_drops_from_the_longer_side_until_both_fit(lengths, budget, expected):
    pairs = truncated(*lengths, budget)
    assert (pairs.first_end - pairs.first_start, pairs.second_end - pairs.second_start) == expected
    assert 0 <= pairs.first_start <= pairs.first_end <= lengths[0] <= pairs.second_start <= pairs.second_end


def test_truncation_drops_front_or_back_by_a_fair_coin():
    fronts = truncated(101, 1, 2, count=400).first_start
    # Each is Binomial(100, 0.5): the mean of 400 has standard deviation 5 / 20 = 0.25; five of them.
    assert np.mean(fronts) == pytest.approx(50, abs=1.25)
    assert np.var(fronts) == pytest.approx(25, abs=5 * 25 * (2 / 400) ** 0.5)


def test_short_sequences_come_with_the_given_probability():
    pool = pool_of(a=[1] * 200, b=[1] * 200)
    # With probability 0.1 the target is uniform in 2..61, else 61: the first pair is shorter with 0.1 x 59/60.
    firsts = [pairs_of(pool, seed=seed, length=64, short=0.1)[0] for seed in range(3000)]
    lengths = [len(first) + len(second) for first, second, is_random in firsts if not is_random]
    expected = 0.1 * 59 / 60
    deviation = (expected * (1 - expected) / len(lengths)) ** 0.5
    assert np.mean(np.array(lengths) < 61) == pytest.approx(expected, abs=5 * deviation)


def test_sentence_order_pairs_are_neighbours_swapped_by_a_fair_coin():
    pool = pool_of(a=[3, 4, 5, 6], b=[7], c=[4, 4])
    swapped = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        pairs = sentence_order_pairs(pool, max_seq_length=16, short_seq_prob=0.0, rng=rng)
        assert set(pairs.document) == {0, 2}
        for a, b, c, d, label, _ in zip(*vars(pairs).values(), strict=True):
            if label:
                a, b, c, d = c, d, a, b
            assert a < b <= c < d
        swapped += int(pairs.label[-1])
    # The last pair is always the third document's. Binomial(1000, 0.5): five standard deviations.
    assert abs(swapped - 500) < 80


def test_full_sentences_fill_rows_across_documents():
    pool = pool_of(a=[3, 4], b=[5], c=[2, 25, 3])
    tokens, rows = full_sentences(pool, max_seq_length=14, separator=-1)
    found = [tokens[a:b].tolist() for a, b in zip(rows.first_start, rows.first_end, strict=True)]
    assert found == [
        [0, 1, 2, 3, 4, 5, 6],  # 7 and a separator and 5 would be 13
        [7, 8, 9, 10, 11, -1, 12, 13],  # the next sentence has 25
        [*range(14, 26)],  # a sentence longer than a row is cut
        [*range(26, 38)],
        [38, 39, 40, 41],
    ]
    assert not rows.second_end.any()
    assert not rows.label.any()
    assert rows.document.tolist() == [0, 1, 2, 2, 2]


def test_full_sentences_use_every_token_once():
    rng = np.random.default_rng(5)
    pool = pool_of(**{f"d{i}": rng.integers(1, 40, rng.integers(1, 12)).tolist() for i in range(30)})
    tokens, rows = full_sentences(pool, max_seq_length=32, separator=-1)
    assert (rows.lengths() <= 32).all()
    used = np.concatenate([tokens[a:b] for a, b in zip(rows.first_start, rows.first_end, strict=True)])
    np.testing.assert_array_equal(used[used >= 0], pool.tokens)
    assert (np.diff(rows.first_start) > 0).all()
    empty, none = full_sentences(pool_of(), max_seq_length=32, separator=-1)
    assert (len(empty), len(none)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("By J. Smith and e.g. others.", ["By J. Smith and e.g. others."]),
        (" a  line\t\nanother line\n\n", ["a  line", "another line"]),
        ("今日は。明日も。", ["今日は。", "明日も。"]),
        ("「はい。」と言った。それから。", ["「はい。」と言った。", "それから。"]),
        ("他说：“你好。”然后走了。再见！", ["他说：“你好。”然后走了。", "再见！"]),
        (
            "Dr. Smith vs. Jones, cf. Fig. 3 and no. 4. Then 2.5 more.",
            ["Dr. Smith vs. Jones, cf. Fig. 3 and no. 4.", "Then 2.5 more."],
        ),
        ("1. First item. Second one.", ["1. First item.", "Second one."]),
        ("It costs 3. Then 4.", ["It costs 3.", "Then 4."]),
        ("In the U.S. Army. In the U.S. The end.", ["In the U.S. Army.", "In the U.S.", "The end."]),
        ("Wait... What?! (He left.) “Why?” he said.", ["Wait...", "What?!", "(He left.)", "“Why?” he said."]),
        ("नमस्ते। फिर मिलेंगे।", ["नमस्ते।", "फिर मिलेंगे।"]),
        ("... . a", ["...", ". a"]),
        ("", []),
    ],
)
def test_sentences_split(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "line", ["." * 1_000_000 + "x", "?!" * 500_000 + "x", "Mr. " * 250_000 + "x", "。" * 1_000_000]
)
def test_a_long_line_of_marks_takes_no_longer_than_others(line):
    """Of the time that grows with the square of its length nobody would see the end."""
    assert "".join(split_sentences(line)).replace(" ", "") == line.replace(" ", "")


def test_document_id_depends_on_content_alone():
    assert document_id("a") == document_id("a") != document_id("b")
    assert len(document_id("\ud800")) == 16
