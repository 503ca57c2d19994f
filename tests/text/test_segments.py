import itertools
import random

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.text import segments


def one_at_a_time(lengths: tuple[int, ...], budget: int, truncation: str) -> list[int]:
    """Takes tokens away one after the other, as google-research/bert's _truncate_seq_pair does."""
    kept = list(lengths)
    while sum(kept) > budget:
        named = {"only_first": 0, "only_second": 1}.get(truncation)
        if named is None or not kept[named]:
            longest = max(kept)
            named = max(i for i, length in enumerate(kept) if length == longest)
        kept[named] -= 1
    return kept


@pytest.mark.parametrize("truncation", segments.TRUNCATIONS)
@pytest.mark.parametrize("count", [2, 3])
def test_kept_lengths_are_those_of_taking_one_at_a_time(truncation, count):
    rows = list(itertools.product(range(6), repeat=count))
    rng = random.Random(0)
    rows += [tuple(rng.randrange(300) for _ in range(count)) for _ in range(200)]
    for budget in (0, 1, 2, 5, 7, 60, 1000):
        kept = segments.kept_lengths(tf.constant(rows, tf.int64), budget, truncation).numpy().tolist()
        assert kept == [one_at_a_time(row, budget, truncation) for row in rows]


def test_odd_tokens_go_to_the_longest_or_the_last():
    rows = tf.constant([[3, 3], [9, 3], [3, 9], [9, 8], [8, 9]], tf.int64)
    kept = segments.kept_lengths(rows, 5, "longest_first", odd_to_longest=True).numpy().tolist()
    assert kept == [[2, 3], [3, 2], [2, 3], [3, 2], [2, 3]]


def test_one_segment_is_cut_to_the_budget():
    kept = segments.kept_lengths(tf.constant([[0], [3], [9]], tf.int64), 4, "longest_first")
    assert kept.numpy().tolist() == [[0], [3], [4]]


def test_rows_cut_and_join():
    ragged = tf.ragged.constant([[], [1, 2, 3], [], [4], []], dtype=tf.int32)
    np.testing.assert_array_equal(segments.rows_of(ragged), ragged.value_rowids())
    assert segments.rows_of(ragged[:1]).shape == (0,)
    short = segments.cut(ragged, tf.constant([0, 2, 5, 0, 1], tf.int64))
    assert short.to_list() == [[], [1, 2], [], [], []]
    joined = segments.join([short, ragged], first=8, last=9)
    assert joined.to_list() == [[8, 9, 9], [8, 1, 2, 9, 1, 2, 3, 9], [8, 9, 9], [8, 9, 4, 9], [8, 9, 9]]
