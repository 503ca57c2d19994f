import pydoc_data.topics

import hypothesis
import hypothesis.strategies as st
import pytest
import reference_tokenizer
import tensorflow as tf

from bert_tf.tokenizer import Tokenizer, split_words
from bert_tf.vocabulary import SPECIAL_TOKENS, Vocabulary

_PIECES = "aàbcABC中文αβς.,!-…1ß我ſé"
UNICODE = Vocabulary((*SPECIAL_TOKENS, *dict.fromkeys(_PIECES), *(f"##{c}" for c in dict.fromkeys(_PIECES))))


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizer(request) -> Tokenizer:
    return Tokenizer(UNICODE, lower_case=request.param)


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer.tokenize([text.encode("utf-8", "surrogatepass") for text in texts]).to_list()


def test_greedy_longest_match_first(vocabulary):
    tokenizer = Tokenizer(vocab=list(vocabulary.tokens), lower_case=True)
    tokens = [
        [vocabulary.tokens[i] for i in row] for row in tokenizer.tokenize(["The unable CATS!", "", "qé"]).to_list()
    ]
    assert tokens == [["the", "un", "##able", "cat", "##s", "!"], [], ["q", "##e"]]
    assert tokenizer.tokenize(["a"]).dtype == tf.int32


def test_special_tokens_in_text_are_text(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    specials = {vocabulary[token] for token in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")}
    assert not specials & set(tokenizer.tokenize(["[SEP] [MASK] [CLS] [PAD]"]).to_list()[0])


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(
    st.lists(st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs", "Cn", "Co"])), max_size=8)
)
def test_any_text_gives_the_reference_ids(tokenizer, texts):
    expected = [reference_tokenizer.tokenize(text, UNICODE.ids, lower_case=tokenizer.lower_case) for text in texts]
    assert ids_of(tokenizer, texts) == expected if texts else True


def test_awkward_texts_give_the_reference_ids(tokenizer):
    texts = [
        "a\tb\nc\rd\u00a0e\u2003f\u3000g",
        "a\x00b\ufffdc\u200bd\u00ade",
        "中文abc我",
        "ΑΣ ΑΣΑ ß ſ É é",
        "a…b—c“a”",
        "  ",
        "a\u2028b\u2029c\x85d\x1ce",
        "a" * 100 + " " + "a" * 101,
        "\U00020000a\U0002f800",
        "i\u0307\u0307İ",
    ]
    expected = [reference_tokenizer.tokenize(text, UNICODE.ids, lower_case=tokenizer.lower_case) for text in texts]
    assert ids_of(tokenizer, texts) == expected


def test_invalid_utf8_is_dropped_not_fatal(tokenizer):
    assert tokenizer.tokenize([b"a\xff\xfeb", b"\xed\xa0\x80a"]).to_list() == ids_of(tokenizer, ["ab", "a"])


def test_real_english_gives_the_reference_ids(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    lines = [line for text in pydoc_data.topics.topics.values() for line in text.splitlines() if line.strip()][:3000]
    expected = [reference_tokenizer.tokenize(line, vocabulary.ids, lower_case=True) for line in lines]
    assert tokenizer.tokenize(lines).to_list() == expected


def test_pack_adds_specials_cuts_and_pads(vocabulary):
    packed = Tokenizer(vocabulary).pack(tf.constant(["the cat sat on the mat", "dog", ""]), max_seq_length=5)
    cls, sep, pad = (vocabulary[token] for token in ("[CLS]", "[SEP]", "[PAD]"))
    the, cat, sat, dog = (vocabulary[token] for token in ("the", "cat", "sat", "dog"))
    rows = [[cls, the, cat, sat, sep], [cls, dog, sep, pad, pad], [cls, sep, pad, pad, pad]]
    assert packed["input_word_ids"].numpy().tolist() == rows
    assert packed["input_mask"].numpy().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert not packed["input_type_ids"].numpy().any()


def test_split_words_splits_at_space_and_punctuation():
    words = split_words(tf.constant(["Don't\u2028stop, Ébène!", "中文"]), lower_case=True).to_list()
    decoded = [[word.decode() for word in row] for row in words]
    assert decoded == [["don", "'", "t", "stop", ",", "ebene", "!"], ["中", "文"]]
