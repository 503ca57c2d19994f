import subprocess
import sys
import unicodedata

import pytest

from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.filtering.cleaning import clean
from pipelines.jobs.vocabulary_learning import build_vocab, learn_vocabulary
from pipelines.reading.inputs import Part
from pipelines.reading.readers import read_documents
from tests.support.reference_tokenizer import Reference

COUNTS = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "n": 1}


def test_pieces_are_merged_by_frequency():
    # By hand (the words are those of Sennrich et al. 2016): ##e ##s and ##s ##t come 9 times, the pair of lower ids
    # goes first; ##es ##t 9 times; l ##o and ##o ##w 7 times; lo ##w 7 times; n ##e, ##e ##w, ##w ##est 6 times.
    vocabulary = learn_vocabulary(COUNTS, 5 + 2 * 10 + 5, min_frequency=1)
    assert vocabulary.tokens[:5] == SPECIAL_TOKENS
    assert vocabulary.tokens[5:15] == tuple("deilnorstw")
    assert vocabulary.tokens[15:25] == tuple(f"##{c}" for c in "deilnorstw")
    assert vocabulary.tokens[25:] == ("##es", "##est", "lo", "low", "ne")


def test_every_kept_character_has_both_forms(corpus_vocab):
    tokens = set(Vocabulary.load(str(corpus_vocab)).tokens)
    characters = {t for t in tokens if len(t) == 1}
    assert len(characters) > 40
    assert all(f"##{c}" in tokens for c in characters)


def test_size_is_exact_and_bytes_are_the_same_in_another_process(corpus, corpus_vocab, tmp_path):
    code = (
        "from pipelines.jobs.vocabulary_learning import build_vocab\n"
        f"build_vocab(input_patterns=[{str(corpus / '[0-9].txt')!r}], output={str(tmp_path / 'v.txt')!r}, "
        "vocab_size=1000, beam_arguments=['--direct_num_workers=2', '--direct_running_mode=multi_processing'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (tmp_path / "v.txt").read_bytes() == corpus_vocab.read_bytes()
    assert len(Vocabulary.load(str(corpus_vocab))) == 1000


def test_corpus_is_covered(corpus, corpus_vocab):
    ids = Vocabulary.load(str(corpus_vocab)).ids
    found = [
        token
        for text in read_documents(Part(str(corpus / "0.txt")))
        for token in Reference(lower_case=True).tokenize(text, ids)
    ]
    assert found.count(ids["[UNK]"]) / len(found) < 0.001


def test_cased_vocabulary_keeps_case(corpus, tmp_path):
    path = str(tmp_path / "v.txt")
    build_vocab(input_patterns=[str(corpus / "0.txt")], output=path, vocab_size=600, lower_case=False)
    assert "T" in Vocabulary.load(path).ids


def test_unused_slots_follow_the_specials_and_count(corpus, tmp_path, command):
    path = tmp_path / "v.txt"
    arguments = ["--input", corpus / "0.txt", "--output", path, "--vocab_size=600", "--unused_slots=20"]
    process = command("pipelines.build_vocab", *arguments)
    assert process.returncode == 0, process.stderr
    tokens = Vocabulary.load(str(path)).tokens
    assert len(tokens) == 600
    assert tokens[5:25] == tuple(f"[unused{index}]" for index in range(20))
    assert not tokens[25].startswith("[unused")

    process = command("pipelines.build_vocab", *arguments[:-1], "--unused_slots=501")
    assert process.returncode == 1
    assert "--unused_slots must be 0 to 500 (--vocab_size - 100). Received: 501." in process.stderr


def test_chinese_characters_are_words_and_accents_are_stripped(tmp_path):
    text = "北京大学 est à l'École. ΟΔΟΣ ΟΔΟΣ 北京"
    (tmp_path / "a.txt").write_text("\n".join([text] * 30))
    vocabulary = build_vocab(input_patterns=[str(tmp_path / "a.txt")], output=str(tmp_path / "v.txt"), vocab_size=46)
    tokens = set(vocabulary.tokens)
    assert {"北", "京", "大", "学", "ecole", "οδος", "a", "'"} <= tokens
    assert not [token for token in tokens if "北" in token and len(token.removeprefix("##")) > 1]


def test_too_small_a_corpus_is_one_clear_sentence():
    with pytest.raises(
        InputError, match=r"--vocab_size 30000: expected at most \d+, which is all that 5 different words hold"
    ):
        learn_vocabulary(COUNTS, 30_000)


def test_text_that_is_not_composed_has_the_words_of_its_shards(tmp_path, command):
    """A cased tokenizer composes nothing itself, and shards are made of composed text."""
    text = unicodedata.normalize("NFD", "Việt Nam có nhiều cà phê. 한국어")
    assert text != unicodedata.normalize("NFC", text)
    (tmp_path / "a.txt").write_text("\n\n".join([text] * 30))
    vocabulary = build_vocab(
        input_patterns=[str(tmp_path / "a.txt")], output=str(tmp_path / "v.txt"), vocab_size=50, lower_case=False
    )
    assert {"V", "ê", "한"} <= set(vocabulary.tokens)
    ids = Reference(lower_case=False).tokenize(clean(text), vocabulary.ids)
    assert vocabulary["[UNK]"] not in ids


def test_too_many_bad_records_leave_the_older_vocabulary(corpus, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One word and another word."}\n{"broken": 1}\n')
    (tmp_path / "v.txt").write_text("older")
    with pytest.raises(InputError, match="expected at most 1.00% of bad records"):
        build_vocab(input_patterns=[str(tmp_path / "a.jsonl")], output=str(tmp_path / "v.txt"), vocab_size=40)
    assert (tmp_path / "v.txt").read_text() == "older"
