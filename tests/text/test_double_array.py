import random

import pytest

from bert_tf.text import double_array


def lookup(units, key: bytes) -> int | None:
    """Walks the trie as darts-clone's readers do."""
    node = 0
    for label in key:
        node ^= int(units[node]) >> 10 ^ label
        if int(units[node]) & 0x800000FF != label:
            return None
    if not int(units[node]) & 0x100:
        return None
    return int(units[node ^ int(units[node]) >> 10]) & 0x7FFFFFFF


def test_every_key_has_its_value_and_nothing_else_has_one():
    rng = random.Random(1)
    keys = {bytes(rng.choice((1, 2, 7, 128, 200, 255)) for _ in range(rng.randint(1, 5))) for _ in range(3000)}
    keys |= {chr(c).encode() for c in range(1, 3000)}
    entries = {key: rng.choice((5, rng.randrange(2**31))) for key in sorted(keys)}
    units = double_array.build(entries)
    assert {key: lookup(units, key) for key in entries} == entries
    others = {key + bytes([last]) for key in keys for last in (1, 2, 200)} | {key[:-1] for key in keys if len(key) > 1}
    assert not [key for key in others - keys if lookup(units, key) is not None]


def test_equal_endings_are_stored_once():
    many = {
        bytes([first, second, third]): 3 for first in range(1, 65) for second in range(1, 65) for third in range(1, 65)
    }
    assert double_array.build(many).size <= 1024


@pytest.mark.parametrize("entries", [{b"a": 0}, {b"\xff": 2**31 - 1, b"\xff\xff": 1}])
def test_small_tries(entries):
    units = double_array.build(entries)
    assert {key: lookup(units, key) for key in entries} == entries
