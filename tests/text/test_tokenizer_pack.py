import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.text.wordpiece import Tokenizer


class TestPack:
    def test_single_texts(self, vocabulary):
        packed = Tokenizer(vocabulary).pack(tf.constant(["the cat sat on the mat", "dog", ""]), max_seq_length=5)
        cls, sep, pad = (vocabulary[token] for token in ("[CLS]", "[SEP]", "[PAD]"))
        the, cat, sat, dog = (vocabulary[token] for token in ("the", "cat", "sat", "dog"))
        rows = [[cls, the, cat, sat, sep], [cls, dog, sep, pad, pad], [cls, sep, pad, pad, pad]]
        assert packed["input_word_ids"].numpy().tolist() == rows
        assert packed["input_mask"].numpy().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
        assert not packed["input_type_ids"].numpy().any()
        assert {value.dtype for value in packed.values()} == {tf.int32}

    def test_pairs_and_offsets(self, vocabulary):
        packed = Tokenizer(vocabulary).pack(["the cat", ""], ["a dog ran", "mat"], max_seq_length=8, with_offsets=True)
        tokens = [[vocabulary.tokens[i] for i in row] for row in packed["input_word_ids"].numpy()]
        assert tokens[0] == ["[CLS]", "the", "cat", "[SEP]", "a", "dog", "ran", "[SEP]"]
        assert tokens[1] == ["[CLS]", "[SEP]", "mat", "[SEP]", "[PAD]", "[PAD]", "[PAD]", "[PAD]"]
        assert packed["input_type_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0, 0]]
        assert packed["token_starts"].numpy()[0].tolist() == [0, 0, 4, 0, 0, 2, 6, 0]
        assert packed["token_ends"].numpy()[0].tolist() == [0, 3, 7, 0, 1, 5, 9, 0]

    def test_three_segments_and_the_length_of_the_batch(self, vocabulary):
        packed = Tokenizer(vocabulary).pack(["the"], ["cat"], ["sat on"], max_seq_length=64, fixed_length=False)
        assert packed["input_type_ids"].numpy().tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]
        assert packed["input_mask"].shape == (1, 8)

    def test_limits_of_segments_come_before_truncation(self, vocabulary):
        tokenizer = Tokenizer(vocabulary)
        arguments = {"max_seq_length": 9, "segment_lengths": (2, None), "truncation": "only_second"}
        packed = tokenizer.pack(["the cat sat on"], ["a b c d e f g"], **arguments)
        tokens = [vocabulary.tokens[i] for i in packed["input_word_ids"][0].numpy()]
        assert tokens == ["[CLS]", "the", "cat", "[SEP]", "a", "b", "c", "d", "[SEP]"]

    def test_no_texts(self, vocabulary):
        packed = Tokenizer(vocabulary).pack(tf.constant([], tf.string), max_seq_length=4, with_offsets=True)
        assert {value.shape.as_list()[0] for value in packed.values()} == {0}

    @pytest.mark.parametrize(
        ("segments", "arguments", "sentence"),
        [
            (["a"], {"truncation": "only_second"}, "needs two segments. Received: 1"),
            (["a"], {"truncation": "shortest"}, "must be one of longest_first, only_first, only_second"),
            (["a", "b"], {"max_seq_length": 2}, "must hold 3 special tokens. Received: 2"),
            (["a"], {"segment_lengths": [1, 2]}, "one length, or None, for each of 1 segments"),
            (["a"], {"segment_lengths": ()}, "one length, or None, for each of 1 segments"),
            (["a"], {"segment_lengths": [-1]}, "one length, or None, for each of 1 segments"),
        ],
    )
    def test_wrong_use_is_one_sentence(self, vocabulary, segments, arguments, sentence):
        with pytest.raises(InputError, match=sentence):
            Tokenizer(vocabulary).pack(*([text] for text in segments), **{"max_seq_length": 8, **arguments})


def test_segments_of_different_size_are_refused(vocabulary):
    with pytest.raises(InputError, match="as many texts each. Received: 1 and 2"):
        Tokenizer(vocabulary).pack(["a"], ["b", "c"], max_seq_length=8)
