import collections
import importlib.util
import itertools
import pathlib
import re
import subprocess
import sys
import unicodedata

import pytest

from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from pipelines.filtering.cleaning import clean
from pipelines.jobs import wordpiece_learner
from pipelines.jobs.vocabulary_learning import build_vocab
from pipelines.jobs.word_counts import CountWords, WordCounts
from pipelines.jobs.wordpiece_learner import LearnerConfig, learn_vocabulary
from pipelines.reading.inputs import Part
from pipelines.reading.readers import read_documents
from tests.support import object_store  # noqa: F401 - Beam finds it by its class
from tests.support.reference_tokenizer import Reference

COUNTS = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "n": 1}
IDEOGRAPHS = [chr(0x4E00 + index) for index in range(4000)]


def learned(counts: dict[str, int], vocab_size: int, *, blocks: int = 1, **config):
    """(vocabulary, report) of word counts in a number of blocks."""
    words = sorted(counts)
    parts = [{word.encode(): counts[word] for word in words[start::blocks]} for start in range(blocks)]
    return learn_vocabulary([WordCounts.of(part) for part in parts], LearnerConfig(vocab_size=vocab_size, **config))


def unknown_share(texts: list[str], vocabulary: Vocabulary, **settings) -> float:
    """The share of [UNK] among the tokens that the tokenizer makes."""
    ids = Tokenizer(vocabulary, **settings).tokenize(texts).values.numpy()
    return float((ids == vocabulary["[UNK]"]).mean())


def test_pieces_are_merged_by_frequency():
    # By hand (the words are those of Sennrich et al. 2016): ##e ##s and ##s ##t come 9 times, the pair of lower ids
    # goes first; ##es ##t 9 times; l ##o and ##o ##w 7 times; lo ##w 7 times; n ##e, ##e ##w, ##w ##est 6 times.
    vocabulary, _ = learned(COUNTS, 5 + 2 * 10 + 5, min_frequency=1)
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
        InputError,
        match=r"--vocab_size 30000: expected text for at least a tenth .* 5 different words, which give \d\d\.",
    ):
        learned(COUNTS, 30_000)


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


def test_a_vocabulary_larger_than_the_text_is_filled():
    vocabulary, report = learned(COUNTS, 200, unused_slots=3)
    filled = vocabulary.tokens[-report.tokens_filled :]
    assert len(vocabulary) == 200
    assert filled == tuple(f"[unused{index}]" for index in range(3, 3 + len(filled)))
    assert f"--vocab_size {200 - len(filled)}." in warnings_of(report)[0]


def warnings_of(report, *, character_coverage=0.9995, max_characters=None, max_word_length=100) -> list[str]:
    return report.warnings(
        character_coverage=character_coverage, max_characters=max_characters, max_word_length=max_word_length
    )


@pytest.mark.parametrize("vocab_size", [100, 1000, 3000, 4005, 5000, 8000, 21_128])
def test_thousands_of_ideographs_give_a_vocabulary_of_any_size(vocab_size):
    counts = {character: 40_000 // (rank + 1) + 1 for rank, character in enumerate(IDEOGRAPHS)}
    vocabulary, report = learned(counts, vocab_size)
    kept = min(4000, vocab_size - len(SPECIAL_TOKENS))
    assert len(vocabulary) == vocab_size
    assert set(vocabulary.tokens) >= set(IDEOGRAPHS[:kept])
    assert not [token for token in vocabulary.tokens if token.startswith("##")]
    assert report.tokens_filled == vocab_size - len(SPECIAL_TOKENS) - kept
    assert report.words_unknown == sum(counts[character] for character in IDEOGRAPHS[kept:])
    assert len([text for text in warnings_of(report) if "[UNK] replaces" in text]) == (vocab_size < 4005)


def test_ideographs_leave_room_for_other_words(corpus):
    english = collections.Counter(re.findall("[a-z]+", (corpus / "0.txt").read_text().lower()))
    counts = dict.fromkeys(IDEOGRAPHS[:3000], 3) | english
    vocabulary, report = learned(counts, 8000)
    assert unknown_share(IDEOGRAPHS[:3000], vocabulary) == 0
    assert report.coverage == 1
    assert {"the", "function"} <= set(vocabulary.tokens)


def test_ideographs_that_are_not_split_have_both_forms():
    vocabulary, _ = learned({"北京大学": 9, "北京": 5}, 5 + 8 + 3, split_cjk=False)
    assert set("北京大学") | {f"##{c}" for c in "北京大学"} | {"北京"} <= set(vocabulary.tokens)


def test_characters_of_other_scripts_follow_the_coverage():
    syllables = [chr(0xAC00 + index) for index in range(3000)]
    pairs = itertools.product(range(2990), range(1, 7))
    counts = {syllables[rank] + syllables[rank + step]: 31 - rank // 100 for rank, step in pairs}
    for coverage in (0.9, 0.99, 0.9995):
        _, report = learned(counts, 15_000, character_coverage=coverage)
        assert coverage <= report.coverage < coverage + 0.001
    _, report = learned(counts, 15_000, max_characters=1000)
    assert report.characters_kept == 1000
    assert "raise --max_characters 1000" in warnings_of(report, max_characters=1000)[0]
    _, report = learned(counts, 4000)  # half of the tokens: 1000 characters in two forms
    assert 990 <= report.characters_kept <= 1000
    assert "raise --vocab_size 4000" in warnings_of(report)[0]
    _, report = learned(counts, 15_000, character_coverage=0.9)
    assert "raise --character_coverage 0.9" in warnings_of(report, character_coverage=0.9)[0]


def test_real_chinese_reaches_googles_size_without_unknown_words(tmp_path):
    """Django's interface in simplified and traditional Chinese, beside the English original."""
    root = pathlib.Path(importlib.util.find_spec("django").origin).parent
    texts = [path.read_text() for path in sorted(root.rglob("*.po")) if "/zh_Han" in str(path)]
    assert len({c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"}) > 900
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    vocabulary = build_vocab(
        input_patterns=[str(tmp_path / "a.txt")], output=str(tmp_path / "v.txt"), vocab_size=21_128
    )
    assert len(vocabulary) == 21_128
    assert unknown_share([line for text in texts for line in text.split("\n")], vocabulary) < 0.0005


def test_the_order_and_number_of_blocks_do_not_matter(corpus):
    counts = collections.Counter(re.findall(r"\w+", (corpus / "0.txt").read_text().lower()))
    for max_words in (1_000_000, 1000):
        one, report = learned(counts, 1000, max_words=max_words)
        many, _ = learned(counts, 1000, max_words=max_words, blocks=7)
        assert one == many
        assert report.words_learned == pytest.approx(min(max_words, len(counts)), rel=0.05)


def test_the_most_frequent_words_are_learned_from():
    counts = {f"a{number}": 1 + number // 10 for number in range(5000)}
    _, report = learned(counts, 100, max_words=2000)
    assert report.words_learned == 2000
    rare = {f"a{number}": 1 for number in range(5000)}
    _, report = learned(rare, 100, max_words=2000)
    assert 1900 <= report.words_learned <= 2100  # by a hash: 2,000 +- 35


def test_the_learners_text_comes_in_small_parts():
    parts = list(wordpiece_learner._repeated([b"of", b"the"], [7, 3_000_000], {ord("e"): "E"}))
    assert "".join(parts) == "of " * 7 + "thE " * 3_000_000
    assert max(map(len, parts)) < 100_000


def test_no_token_is_too_long_for_the_tokenizer():
    word = "ก" * 40 + "ข" * 50  # Thai, 270 bytes
    vocabulary, _ = learned({word: 1000, "ab": 500}, 100, unused_slots=20)
    assert unknown_share([word], vocabulary) == 0


def test_accents_that_spell_words_stay(tmp_path, command):
    """Hindi's vowel signs and Japanese voicing marks are accents to BERT's defaults."""
    texts = ["हिन्दी में किताबें", "がぎぐ ぱぴ パソコン", "Ébène"]
    (tmp_path / "a.txt").write_text("\n\n".join(texts * 30))
    arguments = ["--input", tmp_path / "a.txt", "--output", tmp_path / "v.txt", "--vocab_size=100"]
    process = command("pipelines.build_vocab", *arguments, "--nostrip_accents", "--lower_case")
    assert process.returncode == 0, process.stderr
    assert "pipelines.create_pretraining_data needs the same flags: --strip_accents=false\n" in process.stdout
    vocabulary = Vocabulary.load(str(tmp_path / "v.txt"))
    assert {"##ि", "##ी", "が", "##ぎ", "##ぴ", "パ", "é"} <= set(vocabulary.tokens)
    tokenizer = Tokenizer(vocabulary, lower_case=True, strip_accents=False)
    assert [text.decode() for text in tokenizer.detokenize(tokenizer.tokenize(texts)).numpy()] == [*texts[:2], "ébène"]


def test_words_are_as_long_as_the_tokenizers(tmp_path, capsys):
    long = "สวัสดี" * 20  # 120 characters
    (tmp_path / "a.txt").write_text("\n\n".join([f"{long} ab"] * 30))
    arguments = {"input_patterns": [str(tmp_path / "a.txt")], "output": str(tmp_path / "v.txt"), "vocab_size": 40}
    settings = {"strip_accents": False}
    assert unknown_share([long], build_vocab(**arguments, **settings), **settings) == 1
    warned = capsys.readouterr().err
    assert "[UNK] replaces 50.00% of the words of this text (98.36% of its characters)" in warned
    assert "30 words are longer than 100 characters: raise --max_word_length" in warned
    settings["max_word_length"] = 120
    assert unknown_share([long], build_vocab(**arguments, **settings), **settings) == 0
    assert "[UNK] replaces" not in capsys.readouterr().err


def test_a_worker_without_a_document_counts_nothing():
    """One small file for two workers leaves one of them without."""
    step = CountWords(TokenizerConfig(), buckets=1, folder=None)
    step.start_bundle()
    [counts] = list(step.finish_bundle())
    assert counts.tag == "too_long"
    assert counts.value.value == {"words": 0, "characters": 0}


def test_the_counts_go_with_the_job_and_an_object_store_will_do(corpus, corpus_vocab, tmp_path):
    (tmp_path / "v.txt.words").mkdir()
    (tmp_path / "v.txt.words/killed").write_text("an earlier job's")
    (tmp_path / "store").mkdir()
    for output in (tmp_path / "v.txt", f"objects://{tmp_path / 'store'}//v.txt"):
        build_vocab(input_patterns=[str(corpus / "[0-9].txt")], output=str(output), vocab_size=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"v.txt", "store"}
    [stored] = (tmp_path / "store").iterdir()
    assert stored.read_bytes() == (tmp_path / "v.txt").read_bytes() == corpus_vocab.read_bytes()
