import collections

import numpy as np
import pytest

from pipelines.instances.sentence_pairs import full_sentences, next_sentence_pairs, sentence_order_pairs
from pipelines.instances.token_pool import TokenPool, cut_sentences, end_that_fits
from pipelines.reading.documents import document_id


def pool_of(word: int = 1, **documents: list[int]) -> TokenPool:
    """Documents by name, as lengths of their sentences; tokens count up, so that each tells where it stood.

    A word of a sentence has `word` tokens.
    """
    lengths = [length for sentences in documents.values() for length in sentences]
    return TokenPool(
        tokens=np.arange(sum(lengths), dtype=np.int32),
        sentences=np.cumsum([0, *lengths]),
        documents=np.cumsum([0, *map(len, documents.values())]),
        identities=[name.rstrip("_").encode() for name in documents],
        begins_word=b"".join(bytes(place % word == 0 for place in range(length)) for length in lengths),
        continues=bytes(len(lengths)),
    )


def mixed_pool(seed: int, word: int = 1, longest: int = 100) -> TokenPool:
    """Thirty documents of 1 to 11 sentences of 1 to `longest` tokens."""
    rng = np.random.default_rng(seed)
    documents = {f"d{i}": rng.integers(1, longest, rng.integers(1, 12)).tolist() for i in range(30)}
    return pool_of(word, **documents)


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


def test_a_single_token_without_another_document_gives_no_pair():
    assert pairs_of(pool_of(a=[1])) == []
    assert pairs_of(pool_of(a=[4])) == [([0, 1], [2, 3], False)]
    assert pairs_of(pool_of(a=[12])) == [(list(range(6)), list(range(6, 12)), False)]
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
        assert own == list(range(20))


@pytest.mark.parametrize("word", [1, 3, 1000])
@pytest.mark.parametrize("length", [5, 8, 32, 128])
def test_pairs_fit_and_lose_no_token(word, length):
    pool = mixed_pool(3, word)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pairs = next_sentence_pairs(pool, max_seq_length=length, short_seq_prob=0.3, rng=rng)
        used = np.zeros(len(pool.tokens), int)
        for a, b, c, d, label, _ in zip(*vars(pairs).values(), strict=True):
            assert a < b and c < d
            assert b - a + d - c <= length - 3
            used[a:b] += 1
            if not label:
                assert b == c
                used[c:d] += 1
        assert (used == 1).all()
        assert pairs.tokens_used("next_sentence") == len(used)


@pytest.mark.parametrize("title", [1, 2, 3, 4])
def test_a_short_title_at_the_beginning_of_a_pool_is_a_second_segment_like_others(title):
    pool = pool_of(title=[title], text=[62, 62, 1])
    for seed in range(50):
        for first, second, _ in pairs_of(pool, 1, seed, length=128):
            assert len(first) + len(second) <= 125


def test_what_does_not_fit_opens_the_next_pair():
    """61 tokens fit, words have four: the third sentence is cut behind 20 of its 28."""
    pool = pool_of(4, a=[20, 20, 28], b=[9])
    labels = set()
    for seed in range(50):
        pairs = pairs_of(pool, seed=seed, length=64)
        labels.add(pairs[0][2])
        if not pairs[0][2]:
            assert pairs[0][0] + pairs[0][1] == list(range(60))
            assert pairs[1][0] == list(range(60, 68))
    assert labels == {False, True}


@pytest.mark.parametrize(
    ("begin", "end", "most", "expected"),
    [
        *[(0, 20, 20, 20), (0, 20, 18, 15), (0, 20, 12, 10), (0, 20, 4, 0), (0, 9, 8, 0), (20, 40, 27, 25)],
        *[(0, 12, 11, 5), (0, 3, 1, 0), (2, 4, 3, 2)],
    ],
)
def test_where_a_sentence_is_cut_that_does_not_fit(begin, end, most, expected):
    """Words begin at 0, 5, 10, ...; five tokens stay on either side."""
    assert end_that_fits(pool_of(5, a=[40]), begin, end, most) == expected


def test_long_sentences_become_pieces_of_equal_length_where_words_begin():
    pool = cut_sentences(pool_of(3, a=[5], b=[100, 4], c=[7, 8]), 30)
    lengths = np.diff(pool.sentences).tolist()
    assert lengths == [5, 24, 24, 24, 28, 4, 7, 8]
    assert pool.documents.tolist() == [0, 1, 6, 8]
    assert list(pool.continues) == [0, 0, 1, 1, 1, 0, 0, 0]
    one_word = np.diff(cut_sentences(pool_of(1000, a=[100]), 30).sentences)
    assert one_word.tolist() == [25, 25, 25, 25]


def test_a_document_of_one_sentence_makes_a_pair_of_its_own():
    pool = pool_of(a=[20], b=[30], c=[9])
    assert np.diff(cut_sentences(pool, 60).sentences).tolist() == [10, 10, 15, 15, 9]
    labels = collections.Counter()
    for seed in range(1000):
        pairs = pairs_of(pool, seed=seed, length=128)
        assert pairs[0][0] == list(range(10))
        assert pairs[0][2] or pairs[0][1] == list(range(10, 20))
        labels[pairs[0][2]] += 1
        if pairs[0][2] and pairs[0][1][0] != 50:
            assert pairs[0][1] == list(range(35, 50))  # begins inside of its sentence, as the next one does
    assert abs(labels[True] - 500) < 80  # Binomial(1000, 0.5): five standard deviations


def test_150_paragraphs_without_ends_lose_nothing():
    """A paragraph of 40 sentences without marks: 600 tokens without an end."""
    pool = pool_of(3, **{f"d{i}": [600] for i in range(150)})
    pairs = next_sentence_pairs(pool, max_seq_length=128, short_seq_prob=0.1, rng=np.random.default_rng(0))
    assert pairs.tokens_used("next_sentence") == 90_000
    assert len(pairs) > 720
    assert 0.45 < pairs.label.mean() < 0.65
    ordered = sentence_order_pairs(pool, max_seq_length=128, short_seq_prob=0.1, rng=np.random.default_rng(0))
    assert ordered.tokens_used("sentence_order") == 90_000


def test_a_single_document_is_never_random_and_loses_nothing():
    pool = pool_of(a=[30, 4, 50, 11, 200, 12])
    for seed in range(50):
        rng = np.random.default_rng(seed)
        pairs = next_sentence_pairs(pool, max_seq_length=64, short_seq_prob=0.5, rng=rng)
        assert not pairs.label.any()
        assert pairs.tokens_used("next_sentence") == 307


def test_short_sequences_come_with_the_given_probability():
    pool = pool_of(a=[1] * 200, b=[1] * 200)
    # With probability 0.1 the target is uniform in 2..61, else 61: the first pair is shorter with 0.1 x 59/60.
    firsts = [pairs_of(pool, seed=seed, length=64, short=0.1)[0] for seed in range(3000)]
    lengths = [len(first) + len(second) for first, second, is_random in firsts if not is_random]
    expected = 0.1 * 59 / 60
    deviation = (expected * (1 - expected) / len(lengths)) ** 0.5
    assert np.mean(np.array(lengths) < 61) == pytest.approx(expected, abs=5 * deviation)


def test_sentence_order_pairs_are_neighbours_swapped_by_a_fair_coin():
    pool = pool_of(a=[3, 4, 5, 6], b=[1], c=[4, 4])
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


def test_sentence_order_is_not_told_by_where_a_segment_begins():
    """45 tokens fit: ten beside the longest sentence, enough to cut the next one. Only a last one alone tells it."""
    pool = mixed_pool(6, 1, longest=36)
    starts = set(pool.sentences.tolist())
    ends = set(pool.sentences[pool.documents].tolist())
    pairs = sentence_order_pairs(pool, max_seq_length=48, short_seq_prob=0.0, rng=np.random.default_rng(0))
    told = [
        (first in starts) != (second in starts) and not ends & {first_end, second_end}
        for first, first_end, second, second_end in zip(
            *map(np.ndarray.tolist, list(vars(pairs).values())[:4]), strict=True
        )
    ]
    assert not any(told)


@pytest.mark.parametrize("word", [1, 3, 1000])
@pytest.mark.parametrize("length", [8, 32, 128])
def test_sentence_order_pairs_are_neighbours_and_lose_only_single_tokens(word, length):
    pool = mixed_pool(4, word)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pairs = sentence_order_pairs(pool, max_seq_length=length, short_seq_prob=0.3, rng=rng)
        used = np.zeros(len(pool.tokens), int)
        for a, b, c, d, label, _ in zip(*vars(pairs).values(), strict=True):
            assert a < b and c < d
            assert b - a + d - c <= length - 3
            assert b == c or (label and d == a)
            used[a:b] += 1
            used[c:d] += 1
        assert used.max() == 1
        assert (used == 0).sum() <= 3  # a last sentence of one token
        assert pairs.tokens_used("sentence_order") == used.sum()


def test_sentence_order_pairs_are_whole_sentences_where_two_fit():
    pool = mixed_pool(7, longest=20)
    bounds = set(pool.sentences.tolist())
    alone = {index for index, count in enumerate(np.diff(pool.documents).tolist()) if count == 1}
    pairs = sentence_order_pairs(pool, max_seq_length=64, short_seq_prob=0.0, rng=np.random.default_rng(0))
    for a, b, c, d, _, document in zip(*vars(pairs).values(), strict=True):
        assert {a, b, c, d} <= bounds or document in alone


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


def test_document_id_depends_on_content_alone():
    assert document_id("a") == document_id("a") != document_id("b")
    assert len(document_id("\ud800")) == 16
