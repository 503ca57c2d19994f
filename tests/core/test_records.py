import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core import records
from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary

LAYOUT = records.RecordLayout(max_seq_length=6, max_predictions_per_seq=2)


def features(rows: int = 3, top: int = 30_522) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "input_word_ids": rng.integers(0, top, (rows, 6)),
        "input_mask": rng.integers(0, 2, (rows, 6)),
        "input_type_ids": rng.integers(0, 2, (rows, 6)),
        "masked_lm_positions": rng.integers(0, 6, (rows, 2)),
        "masked_lm_ids": rng.integers(0, top, (rows, 2)),
        "masked_lm_weights": rng.random((rows, 2)).astype(np.float32),
        "next_sentence_labels": rng.integers(0, 2, (rows, 1)),
    }


# 127/128, 16383/16384 and 2097151/2097152 are where a varint grows by a byte.
@pytest.mark.parametrize("top", [2, 128, 129, 16_384, 16_385, 2_097_152, 2_097_153, 1 << 28])
def test_encoding_is_what_protobuf_reads(top):
    given = features(rows=50, top=top)
    given["input_word_ids"][0, 0] = top - 1
    for row, serialized in enumerate(records.encode(given, LAYOUT)):
        example = tf.train.Example.FromString(serialized)
        assert set(example.features.feature) == set(LAYOUT.features)
        for name, (_, dtype) in LAYOUT.features.items():
            feature = example.features.feature[name]
            values = feature.float_list.value if dtype == "float32" else feature.int64_list.value
            np.testing.assert_array_equal(np.array(values, dtype), given[name][row])


def test_encoding_equals_deterministic_protobuf_bytes():
    given = features(rows=1)
    example = tf.train.Example()
    for name, (_, dtype) in LAYOUT.features.items():
        feature = example.features.feature[name]
        (feature.float_list if dtype == "float32" else feature.int64_list).value.extend(given[name][0].tolist())
    assert records.encode(given, LAYOUT) == [example.SerializeToString(deterministic=True)]


def test_parse_gives_back_what_was_encoded():
    given = features()
    parsed = records.parse(tf.constant(records.encode(given, LAYOUT)), LAYOUT)
    assert set(parsed) == set(given)
    for name, value in parsed.items():
        assert value.dtype == (tf.float32 if name == "masked_lm_weights" else tf.int32)
        np.testing.assert_array_equal(value, given[name])


def test_wrong_shape_or_id_is_refused():
    with pytest.raises(ValueError, match=r"masked_lm_ids must have shape \(3, 2\). Received: \(3, 3\)"):
        records.encode({**features(), "masked_lm_ids": np.zeros((3, 3))}, LAYOUT)
    with pytest.raises(ValueError, match="ids must lie in"):
        records.encode({**features(), "masked_lm_ids": np.full((3, 2), -1)}, LAYOUT)


def test_vocabulary_round_trip_keeps_unicode_line_separators():
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "a", "\u2028", "\x85", "é"))
    assert Vocabulary.parse(vocabulary.serialize(), "v") == vocabulary
    assert vocabulary["é"] == 8


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"v: expected the special tokens .* without \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "v: expected every token once. Received 'a' twice"),
        (b"[PAD]\n\xff\n", "v: expected UTF-8. Received an invalid byte at offset 6"),
    ],
)
def test_wrong_vocabulary_is_one_clear_sentence(data, sentence):
    with pytest.raises(InputError, match=sentence):
        Vocabulary.parse(data, "v")
