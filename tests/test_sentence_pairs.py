import collections
import itertools

import numpy as np
import pytest

from pipelines.documents import document_id, split_sentences
from pipelines.sentence_pairs import Pair, TokenizedDocument, _truncate, document_pairs


def document(name: str, *lengths: int, base: int = 0) -> TokenizedDocument:
    """Sentences of the given lengths whose tokens count up from base, so that each token tells where it stood."""
    bounds = np.cumsum([0, *lengths])
    return TokenizedDocument(name.encode(), [np.arange(base + a, base + b) for a, b in itertools.pairwise(bounds)])


def pairs_of(index, documents, seed=0, length=16, short=0.0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return document_pairs(index, documents, max_seq_length=length, short_seq_prob=short, rng=rng)


def test_two_sentences_that_fit_become_next_or_random_by_a_fair_coin():
    documents = [document("a", 4, 5), document("b", 6, base=1000)]
    labels = collections.Counter()
    for seed in range(2000):
        first = pairs_of(0, documents, seed)[0]
        np.testing.assert_array_equal(first.first, [0, 1, 2, 3])
        expected = documents[1].sentences[0] if first.is_random_next else documents[0].sentences[1]
        np.testing.assert_array_equal(first.second, expected)
        labels[first.is_random_next] += 1
    # Binomial(2000, 0.5) has standard deviation 22.4; five of them.
    assert abs(labels[True] - 1000) < 112


def test_single_sentence_always_gets_a_random_second_segment():
    documents = [document("a", 4), document("b", 6, base=1000)]
    assert all(pairs_of(0, documents, seed)[0].is_random_next for seed in range(50))


def test_single_sentence_without_another_document_gives_no_pair():
    assert pairs_of(0, [document("a", 4)]) == []


def test_without_another_document_every_label_says_next():
    for seed in range(50):
        assert not any(pair.is_random_next for pair in pairs_of(0, [document("a", 4, 4, 4, 4)], seed))


def test_random_second_segment_never_comes_from_the_same_document():
    # The pool holds document "a" twice, as with dupe_factor 2.
    documents = [document("a", 3, 3, 3), document("a", 3, 3, 3), document("b", 5, base=1000)]
    for seed in range(300):
        for pair in pairs_of(0, documents, seed):
            assert not pair.is_random_next or pair.second.min() >= 1000


def test_sentences_unused_by_a_random_next_open_the_next_pair():
    documents = [document("a", 5, 5, 5, 5), document("b", 20, base=1000)]
    for seed in range(200):
        firsts = np.concatenate([pair.first for pair in pairs_of(0, documents, seed)])
        seconds = [pair.second for pair in pairs_of(0, documents, seed) if not pair.is_random_next]
        own = np.concatenate([firsts, *seconds]) if seconds else firsts
        # 13 tokens fit: truncation may drop some, but no sentence is skipped or used twice.
        assert len(own) == len(set(own.tolist()))
        assert {token // 5 for token in own.tolist()} == {0, 1, 2, 3}


def test_pairs_fit_and_no_segment_is_empty():
    rng = np.random.default_rng(3)
    documents = [document(str(i), *rng.integers(1, 40, rng.integers(1, 12))) for i in range(30)]
    for index in range(30):
        for pair in pairs_of(index, documents, seed=index, length=32, short=0.5):
            assert len(pair.first) >= 1
            assert len(pair.second) >= 1
            assert len(pair.first) + len(pair.second) <= 29


def test_truncation_drops_from_the_longer_side_until_both_fit():
    rng = np.random.default_rng(0)
    for lengths, expected in [
        ((10, 3), (7, 3)),
        ((3, 10), (3, 7)),
        ((9, 9), (5, 5)),
        ((20, 1), (9, 1)),
        ((4, 5), (4, 5)),
    ]:
        first, second = _truncate(np.arange(lengths[0]), np.arange(lengths[1]), 10, rng)
        assert (len(first), len(second)) == expected
        for tokens in (first, second):
            np.testing.assert_array_equal(np.diff(tokens), 1)


def test_truncation_ties_take_from_the_second():
    first, second = _truncate(np.arange(6), np.arange(6), 11, np.random.default_rng(0))
    assert (len(first), len(second)) == (6, 5)


def test_truncation_drops_front_or_back_by_a_fair_coin():
    fronts = [_truncate(np.arange(101), np.arange(1), 2, np.random.default_rng(s))[0][0] for s in range(400)]
    # Each is Binomial(100, 0.5): the mean of 400 has standard deviation 5 / 20 = 0.25; five of them.
    assert np.mean(fronts) == pytest.approx(50, abs=1.25)


def test_short_sequences_come_with_the_given_probability():
    documents = [document("a", *[1] * 200), document("b", *[1] * 200, base=1000)]
    # With probability 0.1 the target is uniform in 2..61, else 61: the first pair is shorter with 0.1 x 59/60.
    short = sum(
        len(pair.first) + len(pair.second) < 61
        for pair in (pairs_of(0, documents, seed, length=64, short=0.1)[0] for seed in range(3000))
        if not pair.is_random_next
    )
    total = sum(not pairs_of(0, documents, seed, length=64, short=0.1)[0].is_random_next for seed in range(3000))
    expected = 0.1 * 59 / 60
    assert short / total == pytest.approx(expected, abs=5 * (expected * (1 - expected) / total) ** 0.5)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("By J. Smith and e.g. others.", ["By J. Smith and e.g. others."]),
        ("a  line\nanother   line\n\n", ["a line", "another line"]),
        ("今日は。明日も。", ["今日は。", "明日も。"]),
        ("", []),
    ],
)
def test_sentences_split(text, sentences):
    assert split_sentences(text) == sentences


def test_document_id_depends_on_content_alone():
    assert document_id("a") == document_id("a") != document_id("b")
    assert len(document_id("\ud800")) == 16
