import itertools
import pydoc_data.topics
import random
import re
import time
import unicodedata

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.core.errors import InputError
from bert_tf.text import normalizer as normalizer_module
from bert_tf.text.normalizer import Normalizer, NormalizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from bert_tf.text.words import split_words
from tests.support import tokenizer_sweep, unicode_differences
from tests.support.reference_tokenizer import Reference

_PIECES = "aàbcABC中文αβςσ.,!-…1ß我ſé가"
UNICODE = Vocabulary((*SPECIAL_TOKENS, *dict.fromkeys(_PIECES), *(f"##{c}" for c in dict.fromkeys(_PIECES))))
LATER = unicode_differences.expand(unicode_differences.PYTHON_UNCASED)
SETTINGS = {
    "uncased": {"lower_case": True},
    "cased": {"lower_case": False},
    "uncased, accents": {"lower_case": True, "strip_accents": False},
    "cased, no accents": {"lower_case": False, "strip_accents": True},
    "whole CJK": {"lower_case": True, "split_cjk": False},
    "short words": {"lower_case": True, "max_word_length": 3},
    "transformers": {"lower_case": True, "rules": "huggingface"},
}
ALL_SETTINGS = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizer(request) -> Tokenizer:
    return Tokenizer(UNICODE, lower_case=request.param)


def tokens_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    return [[tokenizer.vocabulary.tokens[i] for i in row] for row in tokenizer.tokenize(texts).to_list()]


def test_greedy_longest_match_first(vocabulary):
    tokenizer = Tokenizer(vocab=list(vocabulary.tokens), lower_case=True)
    expected = [["the", "un", "##able", "cat", "##s", "!"], [], ["q", "##e"]]
    assert tokens_of(tokenizer, ["The unable CATS!", "", "qé"]) == expected
    assert tokenizer.tokenize(["a"]).dtype == tf.int32


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs", "Cn"])), max_size=8))
def test_any_text_gives_the_reference_ids(tokenizer, texts):
    texts = [text for text in texts if not {ord(c) for c in text} & LATER]
    reference = Reference(tokenizer.lower_case)
    expected = [reference.tokenize(text, UNICODE.ids) for text in texts]
    assert tokenizer.tokenize([text.encode() for text in texts]).to_list() == expected


@ALL_SETTINGS
def test_mixed_scripts_give_the_reference_ids(settings):
    texts = tokenizer_sweep.random_texts(random.Random(7), 2000)
    texts = [text for text in texts if not {ord(c) for c in text} & LATER]
    assert len(texts) > 1900
    assert not tokenizer_sweep.differing(texts, settings)


@pytest.mark.parametrize("lower_case", [True, False])
def test_code_points_of_the_basic_plane(lower_case):
    code_points = [c for c in tokenizer_sweep.CODE_POINTS if c < 0x10000]
    listed = unicode_differences.PYTHON_UNCASED if lower_case else unicode_differences.PYTHON_CASED
    found = tokenizer_sweep.differing_code_points(code_points, {"lower_case": lower_case})
    assert found <= unicode_differences.expand(listed)


def test_awkward_texts_give_the_reference_ids(tokenizer):
    texts = [
        "a\tb\nc\rd\u00a0e\u2003f\u3000g",
        "a\x00b\ufffdc\u200bd\u00ade",
        "中文abc我",
        "ΑΣ ΑΣΑ ΑΣ'Α ΑΣ' 'Σ Σ ß ſ É é",
        "a…b—c“a”",
        "  ",
        "\u0301\u0300",
        "a\u2028b\u2029c\x85d\x1ce",
        "a" * 100 + " " + "a" * 101 + " b",
        "é" * 100 + "é" + " " + "é" * 100 + " b",
        "가" * 33 + " " + "가" * 34 + " " + "가" * 50 + " " + "가" * 51,
        "\U00020000a\U0002f800",
        "i\u0307\u0307İ",
    ]
    reference = Reference(tokenizer.lower_case)
    assert tokenizer.tokenize(texts).to_list() == [reference.tokenize(text, UNICODE.ids) for text in texts]


def test_marks_that_stay_are_put_in_order():
    # U+302E is of class 224 and U+1B44 of class 9: decomposition puts the latter first, whatever is removed between.
    marks = [
        c
        for c in map(chr, tokenizer_sweep.CODE_POINTS)
        if any(unicodedata.combining(x) and unicodedata.category(x) != "Mn" for x in unicodedata.normalize("NFD", c))
        and ord(c) not in LATER
    ]
    assert 30 < len(marks) < 60
    texts = [f"a{x}{between}{y}b" for x, y in itertools.product(marks, repeat=2) for between in ("", "\u0301")]
    assert not tokenizer_sweep.differing(texts, {"lower_case": True})
    assert not tokenizer_sweep.differing(texts, {"lower_case": False})
    vocabulary = [*SPECIAL_TOKENS, *"ab", *(f"##{c}" for c in ["a", "b", *marks])]
    assert not tokenizer_sweep.misplaced_words(texts, Tokenizer(vocabulary))


def test_decomposing_first_changes_nothing():
    # Texts with unordered marks are decomposed before the table is applied, which lower-cases.
    normalizer = Normalizer(NormalizerConfig(lower_case=True, strip_accents=True))
    characters = [chr(c) for c in tokenizer_sweep.CODE_POINTS if c < 0x30000]
    before = tokenizer_sweep.normalized(characters, normalizer)
    after = tokenizer_sweep.normalized([unicodedata.normalize("NFD", c) for c in characters], normalizer)
    assert [c for c, x, y in zip(characters, before, after, strict=True) if x != y and ord(c) not in LATER] == []


def test_every_mark_that_stays_and_has_an_order_is_known():
    # TF Text's own NFD says what has an order: between a mark of class 240 and one of class 1, any other one moves.
    characters = [chr(c) for c in normalizer_module._assigned_code_points()]
    pattern = f"[{normalizer_module._KEPT_MARKS}]"
    known = tf.strings.regex_full_match([c.encode() for c in characters], pattern).numpy()
    removed = tf.strings.regex_full_match([c.encode() for c in characters], r"\p{Mn}").numpy()
    candidates = [c for c, yes in zip(characters, ~known & ~removed, strict=True) if yes]
    decomposed = [c.decode() for c in tf_text.normalize_utf8([c.encode() for c in candidates], "NFD").numpy()]
    for form in ("a\u0345{}", "a{}\u0334"):
        texts = [form.format(d).encode() for c, d in zip(candidates, decomposed, strict=True) if c == d]
        assert (tf_text.normalize_utf8(texts, "NFD") == texts).numpy().all()
    # What decomposes holds none of them either.
    inner = sorted({x.encode() for c, d in zip(candidates, decomposed, strict=True) if c != d for x in d})
    assert not tf.strings.regex_full_match(inner, pattern).numpy().any()


def test_the_table_changes_nothing_beyond_the_planes_it_is_made_of():
    config = NormalizerConfig(lower_case=True, strip_accents=True)
    texts = tf.constant([chr(c).encode() for c in tokenizer_sweep.CODE_POINTS if c >= 0x30000])
    rows = tf.zeros([0], tf.int64)
    assert (normalizer_module._by_rules(texts, config) == Normalizer(config).normalize(texts, rows)).numpy().all()


@ALL_SETTINGS
def test_bytes_that_are_no_text_are_dropped(settings):
    rng = random.Random(3)
    broken = [bytes([x]) for x in bytes.fromhex("80 bf c0 c2 e0 e4 ed a0 9f ef f0 f1 f4 f5 90 8f ff")]
    broken += [b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xf0\x9f\x98"]
    whole = [
        x.encode()
        for x in ("a", "B", "a" * 40, " ", "Σ", "'", "\u302e", "\u1b44", "\u0301", "\0", "中", "가", "\u200b")
    ]
    texts = [b"a\xff\xfeb", b"\xed\xa0\x80a", b"\xce\xb1\xce\xa3\xff", (b"a" * 20 + b"\xff") * 6, b"\xff"]
    texts += [
        b"".join(rng.choice(rng.choice((broken, whole, whole))) for _ in range(rng.randrange(1, 12)))
        for _ in range(10_000)
    ]
    tokenizer = Tokenizer(UNICODE, **settings)
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    assert ids.to_list() == tokenizer.tokenize([text.decode(errors="ignore") for text in texts]).to_list()
    assert (starts.values < ends.values).numpy().all()
    assert all(row[-1] <= len(text) for row, text in zip(ends.to_list(), texts, strict=True) if row)


@pytest.mark.parametrize("split_cjk", [True, False])
@pytest.mark.parametrize("unit", ["a", "é", "中", "\u0301", "Σ", "-", "가", "\xff", "\u302e\u16ff"])
def test_a_megabyte_without_a_space_takes_bounded_time(unit, split_cjk):
    tokenizer = Tokenizer(UNICODE, split_cjk=split_cjk)
    text = (unit.encode("latin-1") if unit == "\xff" else unit.encode()) * (1_000_000 // len(unit))
    tokenizer.tokenize_with_offsets(["a"])
    began = time.monotonic()
    ids, starts, ends = tokenizer.tokenize_with_offsets([text, "b"])
    # Some 0.1 s here; quadratic work would take hours.
    assert time.monotonic() - began < 30
    count = {"\u0301": 0, "\xff": 0, "-": 1_000_000, "中": 1_000_000 if split_cjk else 1}.get(unit, 1)
    assert [len(row) for row in ids.to_list()] == [count, 1]
    if count == 1:
        assert ids[0, 0] == UNICODE["[UNK]"] and starts[0, 0] == 0 and ends[0, 0] == len(text)


def test_real_english_gives_the_reference_ids(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    lines = [line for text in pydoc_data.topics.topics.values() for line in text.splitlines() if line.strip()][:3000]
    assert tokenizer.tokenize(lines).to_list() == [Reference(True).tokenize(line, vocabulary.ids) for line in lines]


@ALL_SETTINGS
def test_offsets_slice_back_to_the_source(settings):
    texts = [*tokenizer_sweep.random_texts(random.Random(11), 2000), *pydoc_data.topics.topics.values()]
    texts = [text for text in texts if not {ord(c) for c in text} & LATER]
    assert not tokenizer_sweep.misplaced_words(texts, Tokenizer(UNICODE, **settings))


def test_offsets_by_hand():
    text = "Ab\u200bc é! e\u0301 가 中Σ"
    ids, starts, ends = Tokenizer(UNICODE).tokenize_with_offsets([text])
    found = [
        (UNICODE.tokens[i], text.encode()[start:end].decode())
        for i, start, end in zip(ids[0].numpy(), starts[0].numpy(), ends[0].numpy(), strict=True)
    ]
    assert found == [
        *(("a", "A"), ("##b", "b\u200b"), ("##c", "c"), ("[UNK]", "é"), ("!", "!"), ("[UNK]", "e\u0301")),
        *(("ᄀ", "가"), ("##ᅡ", "가"), ("中", "中"), ("σ", "Σ")),
    ]
    assert starts.dtype == ends.dtype == tf.int64


def test_special_tokens_in_text_are_text_unless_asked_for(vocabulary):
    text = "the [MASK] sat[SEP] [mask]"
    specials = {vocabulary[token] for token in SPECIAL_TOKENS if token != "[UNK]"}
    assert not specials & set(Tokenizer(vocabulary).tokenize([text, "[CLS] [PAD]"]).values.numpy())

    tokenizer = Tokenizer(vocabulary, keep_special_tokens=True)
    ids, starts, ends = tokenizer.tokenize_with_offsets([text, "", "[MASK]"])
    assert ids.to_list() == tokenizer.tokenize([text, "", "[MASK]"]).to_list()
    tokens = [vocabulary.tokens[i] for i in ids[0].numpy()]
    assert tokens == ["the", "[MASK]", "sat", "[SEP]", "[UNK]", "m", "##a", "##s", "##k", "[UNK]"]
    slices = [text[start:end] for start, end in zip(starts[0].numpy(), ends[0].numpy(), strict=True)]
    assert slices == ["the", "[MASK]", "sat", "[SEP]", "[", "m", "a", "s", "k", "]"]
    assert ids.to_list()[1:] == [[], [vocabulary["[MASK]"]]]


def test_literal_special_tokens_among_awkward_texts(vocabulary):
    tokenizer = Tokenizer(UNICODE, keep_special_tokens=True)
    reference = Reference(True)
    texts = ["a\0b a", "\0a [MASK]", *tokenizer_sweep.random_texts(random.Random(5), 500)]
    texts = [text for text in texts if not {ord(c) for c in text} & LATER]
    texts += [f"{text}[MASK]{text} [SEP]" for text in texts]
    expected = [
        [
            token
            for part in re.split(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])", text)
            for token in ([UNICODE[part]] if part in SPECIAL_TOKENS else reference.tokenize(part, UNICODE.ids))
        ]
        for text in texts
    ]
    ids, starts, ends = tokenizer.tokenize_with_offsets([text.encode() for text in texts])
    assert ids.to_list() == expected
    assert (starts.values < ends.values).numpy().all()


@pytest.mark.parametrize("odd", ["", "##", "a b", "\u2028", "\x11", "##\x11", "a\x00", "a.b", "##.", "a" * 300])
def test_a_token_that_no_word_holds_is_never_found(odd):
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "a", "##a", "b", odd], lower_case=False)
    text = f"a b {odd} a{odd.replace('##', '')}a a.b . \u2028a"
    assert tokenizer.tokenize([text]).to_list() == [Reference(False).tokenize(text, tokenizer.vocabulary.ids)]


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [([5, 6], "a list of lists"), (tf.constant([5]), "rank 1"), ([[500]], "0 to 69"), ([[-1, 2]], "Received: -1 to 2")],
)
def test_ids_that_are_none_are_refused(vocabulary, ids, sentence):
    with pytest.raises(InputError, match=sentence):
        Tokenizer(vocabulary).detokenize(ids)


def test_one_text_instead_of_a_list_is_refused(vocabulary):
    with pytest.raises(InputError, match="a list or a vector of strings. Received: rank 0"):
        Tokenizer(vocabulary).tokenize("the cat")


def test_detokenize(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    packed = tokenizer.pack(["The unable cats!", "", "☃"], max_seq_length=9)["input_word_ids"]
    assert tokenizer.detokenize(packed).numpy().tolist() == [b"the unable cats !", b"", b"[UNK]"]
    ids = [[vocabulary["##s"], vocabulary["[CLS]"], vocabulary["dog"], vocabulary["##s"]], []]
    assert tokenizer.detokenize(ids).numpy().tolist() == [b"##s dogs", b""]
    assert tokenizer.detokenize(ids, skip_special_tokens=False).numpy().tolist() == [b"##s [CLS] dogs", b""]


def test_split_words_splits_at_space_and_punctuation():
    words = split_words(tf.constant(["Don't\u2028stop, Ébène!", "中文ΑΣ"]), lower_case=True).to_list()
    decoded = [[word.decode() for word in row] for row in words]
    assert decoded == [["don", "'", "t", "stop", ",", "ebene", "!"], ["中", "文", "ας"]]


# TF Text's ops in TensorFlow Serving 2.14; what is not here comes from TensorFlow itself.
_SERVED_TEXT_OPS = {
    "FastBertNormalize",
    "FastWordpieceTokenizeWithOffsets",
    "NormalizeUTF8",
    "NormalizeUTF8WithOffsetsMap",
    "FindSourceOffsets",
    "RegexSplitWithOffsets",
}


@pytest.mark.parametrize("settings", [{}, {"split_cjk": False, "keep_special_tokens": True}])
def test_the_graph_holds_ops_that_tf_serving_has(vocabulary, tmp_path, settings):
    tokenizer = Tokenizer(vocabulary, **settings)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2, autograph=False)
    def serve(first, second):
        return tokenizer.pack(first, second, max_seq_length=16, with_offsets=True)

    module = tf.Module()
    module.tokenizer, module.serve = tokenizer, serve
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    graph = serve.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    ops = {node.op for node in nodes}
    text_ops = ops - set(dir(tf.raw_ops))
    assert {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets"} <= text_ops <= _SERVED_TEXT_OPS
    assert not {op for op in ops if "PyFunc" in op}

    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    texts = [tf.constant(["the cat ΑΣ [MASK]", b"\xff"]), tf.constant(["sat", "a" * 500])]
    expected = serve(*texts)
    received = loaded(first=texts[0], second=texts[1])
    for name in expected:
        np.testing.assert_array_equal(received[name], expected[name])
