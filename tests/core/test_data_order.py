import collections

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core import data_order
from bert_tf.core.data_order import Mixture, shares, source_names, stateless_int32, temperature_weights, whole_weights
from bert_tf.core.errors import InputError


def shards_of(*examples: int) -> list[dict]:
    return [{"name": f"shard {index}", "examples": count} for index, count in enumerate(examples)]


def mixture(*sources, **settings) -> Mixture:
    settings = {"global_batch_size": 10, "seed": 7, **settings}
    return Mixture([(f"folder {index}", shards_of(*sizes)) for index, sizes in enumerate(sources)], **settings)


def test_numbers_are_those_of_tensorflow():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 4096, 10_003):
        seed = rng.integers(2**31, size=2).astype(np.int32)
        expected = tf.random.stateless_uniform([count], seed, None, None, tf.int32).numpy()
        np.testing.assert_array_equal(stateless_int32(count, seed), expected)


def test_weights_are_exact_as_written():
    assert whole_weights([0.7, 0.3]) == [7, 3]
    assert whole_weights([6, 2]) == [3, 1]
    assert whole_weights([0.1, 0.2, 1e-5]) == [10_000, 20_000, 1]


def test_shares_grow_and_stay_near_the_weights():
    assert [shares(count, [7, 3]) for count in (0, 1, 10, 11)] == [[0, 0], [0, 1], [7, 3], [7, 4]]
    weights = [5, 1, 90, 3, 1]
    before = [0] * 5
    for count in range(1, 2000):
        now = shares(count, weights)
        assert sum(now) == count
        assert all(new >= old for new, old in zip(now, before, strict=True))
        assert all(abs(have - count * weight / 100) < 1 + np.log(5) for have, weight in zip(now, weights, strict=True))
        before = now
    assert shares(10**30, [1, 2**70]) == [10**30 // (1 + 2**70), 10**30 - 10**30 // (1 + 2**70)]


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_a_batch_has_its_share_of_each_source(readers):
    found = mixture((40, 60), (20,), weights=(0.75, 0.25), readers=readers)
    totals = np.zeros(2)
    for batch in range(40):
        records = found.records(batch)
        assert len(records) == 10
        totals += [sum(record.source == source for record in records) for source in (0, 1)]
        assert abs(totals[0] - 7.5 * (batch + 1)) < readers
    assert totals.tolist() == [300, 100]


def test_an_epoch_of_each_source_holds_its_rows_once():
    found = mixture((4, 6), (5,), weights=(2, 1), global_batch_size=3)
    # Ten batches take 20 and 10 rows: two epochs of each.
    for batches in (range(5), range(5, 10)):
        rows = collections.Counter(record for batch in batches for record in found.records(batch))
        assert len(rows) == 15 and set(rows.values()) == {1}
    assert found.epochs(10) == {"folder 0": 2.0, "folder 1": 2.0}


def test_without_weights_sources_count_by_their_examples():
    assert mixture((40, 60), (20,)).weights == pytest.approx([100 / 120, 20 / 120])


def test_one_source_has_the_order_of_version_0_1():
    """Golden: drawn with the code of version 0.1, so that a workdir of that version goes on with its batches."""
    order = data_order.Order("folder", shards_of(4, 6), seed=7)
    visits = [next(order.visits(0, row)) for row in (0, 5, 10)]
    expected = np.random.default_rng([7, 0]).permutation(2)
    assert [visit.epoch for visit in visits] == [0, 0, 1] and visits[0].shard == expected[0]
    seed = np.random.default_rng([7, 0, visits[0].shard]).integers(2**31, size=2).astype(np.int32)
    size = (4, 6)[visits[0].shard]
    keys = tf.random.stateless_uniform([size], seed, None, None, tf.int32)
    np.testing.assert_array_equal(order.numbers(visits[0]), tf.argsort(keys, stable=True))


def test_sources_are_shuffled_differently():
    found = mixture((50,), (50,), weights=(1, 1), global_batch_size=100)
    rows = [[record.number for record in found.records(0) if record.source == source] for source in (0, 1)]
    assert rows[0] != rows[1] and sorted(rows[0]) == sorted(rows[1]) == list(range(50))


def test_temperatures():
    assert temperature_weights([900, 100], 1) == pytest.approx([0.9, 0.1])
    assert temperature_weights([900, 100], 0.5) == pytest.approx([0.75, 0.25])
    assert temperature_weights([900, 100], 0) == pytest.approx([0.5, 0.5])
    with pytest.raises(InputError, match=r"a temperature must lie in \[0, 1\]. Received: 2"):
        temperature_weights([1], 2)


def test_names_tell_sources_apart():
    assert source_names(["a/x", "a/y/"]) == ["x", "y"]
    assert source_names(["web/shards", "books/shards"]) == ["web/shards", "books/shards"]


def test_a_source_without_examples_is_named():
    with pytest.raises(InputError, match="data.train=folder 1: expected training examples. Received none"):
        mixture((4,), ())
