"""`make sweep`: every code point, a hundred thousand random strings, twenty megabytes of real text."""

import random
import sys

import pytest
import tensorflow as tf
from tokenizers import normalizers, pre_tokenizers

from bert_tf.text import words
from bert_tf.text.normalizer import Normalizer, NormalizerConfig
from bert_tf.text.vocabulary import Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from tests.support import reference_tokenizer, tokenizer_sweep, unicode_differences

pytestmark = pytest.mark.sweep
CASES = pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])


@CASES
def test_every_code_point_alone_and_in_a_word(lower_case):
    found = tokenizer_sweep.differing_code_points(tokenizer_sweep.CODE_POINTS, {"lower_case": lower_case})
    listed = unicode_differences.PYTHON_UNCASED if lower_case else unicode_differences.PYTHON_CASED
    print(f"{len(found)} of {len(tokenizer_sweep.CODE_POINTS)} code points differ, {listed}")
    assert found <= unicode_differences.expand(listed)
    if sys.version_info[:2] == (3, 11):
        assert found == unicode_differences.expand(listed)


@CASES
def test_every_code_point_by_the_rules_of_transformers(lower_case):
    peer = normalizers.BertNormalizer(lowercase=lower_case)
    splitter = pre_tokenizers.BertPreTokenizer()
    normalizer = Normalizer(NormalizerConfig(lower_case, lower_case, "huggingface"))
    found = set()
    for start in range(0, len(tokenizer_sweep.CODE_POINTS), 16_384):
        chunk = tokenizer_sweep.CODE_POINTS[start : start + 16_384]
        texts = [text for c in chunk for text in (chr(c), f"a{chr(c)}b")]
        encoded = tf.constant([text.encode() for text in texts])
        normalized = normalizer.normalize(encoded, normalizer.find_rare(encoded))
        split, _, _ = words.split(normalized, split_cjk=True)
        for code_point, text, ours in zip([c for c in chunk for _ in "12"], texts, split.to_list(), strict=True):
            theirs = [word for word, _ in splitter.pre_tokenize_str(peer.normalize_str(text))]
            # U+2B820 to U+2B91F travel as private-use characters.
            theirs = ["".join(stand_in(c) for c in word) for word in theirs]
            if [word.decode() for word in ours] != theirs:
                found.add(code_point)
    listed = unicode_differences.HUGGINGFACE_UNCASED if lower_case else unicode_differences.HUGGINGFACE_CASED
    print(f"{len(found)} of {len(tokenizer_sweep.CODE_POINTS)} code points differ, {listed}")
    assert found == unicode_differences.expand(listed)


def stand_in(character: str) -> str:
    return chr(ord(character) - 0x2B820 + 0x10F800) if 0x2B820 <= ord(character) <= 0x2B91F else character


def test_every_code_point_beside_a_sigma():
    listed = unicode_differences.expand(unicode_differences.PYTHON_UNCASED)
    points = [c for c in tokenizer_sweep.CODE_POINTS if c not in listed]
    found = set()
    for form in ("Α{}Σ", "ΑΣ{}", "ΑΣ{}Α", "{}Σ"):
        texts = {form.format(chr(c)): c for c in points}
        differing = tokenizer_sweep.differing(list(texts), {"lower_case": True, "strip_accents": False})
        found |= {texts[text] for text in differing}
    print(f"{len(found)} of {len(points)} code points differ beside a sigma, {unicode_differences.PYTHON_SIGMA}")
    assert found <= unicode_differences.expand(unicode_differences.PYTHON_SIGMA)


@CASES
def test_random_strings(lower_case):
    rng = random.Random(20240229)
    listed = unicode_differences.expand(
        unicode_differences.PYTHON_UNCASED if lower_case else unicode_differences.PYTHON_CASED
    )
    texts = [t for t in tokenizer_sweep.random_texts(rng, 100_000) if not {ord(c) for c in t} & listed]
    assert len(texts) > 99_000
    assert not tokenizer_sweep.differing(texts, {"lower_case": lower_case})


@CASES
def test_real_text(lower_case, corpus_vocab):
    from benchmarks import real_text

    vocabulary = Vocabulary.load(str(corpus_vocab))
    tokenizer = Tokenizer(vocabulary, lower_case=lower_case)
    reference = reference_tokenizer.Reference(lower_case)
    texts = real_text.english_paragraphs()[:60_000] + real_text.translations()
    assert sum(len(text.encode()) for text in texts) > 10_000_000
    for start in range(0, len(texts), 4096):
        chunk = texts[start : start + 4096]
        expected = [reference.tokenize(text, vocabulary.ids) for text in chunk]
        assert tokenizer.tokenize(chunk).to_list() == expected
        assert not tokenizer_sweep.misplaced_words(chunk, tokenizer)
