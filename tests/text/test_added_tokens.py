"""Added tokens: ids as the `tokenizers` library gives them, wherever the tokens stand in a text."""

import random

import pytest
import tensorflow as tf
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from bert_tf.core.errors import InputError
from bert_tf.serving.export import gate
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from bert_tf.text.wordpiece_kind import WORDPIECE
from bert_tf.training.data.shard_folder import ShardFolder
from pipelines.filtering.cleaning import DocumentConfig
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs import inspection
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789é,.-[]()<>/_中国我ßΣσ가\U0002b820"
PIECES = (*SPECIAL_TOKENS, *_CHARACTERS, *(f"##{c}" for c in _CHARACTERS), "the", "##vid", "known", "[unused1]")
ADDED = (
    AddedToken(content="[E1]", special=True, normalized=False),
    AddedToken(content="[/E1]", special=True, normalized=False),
    AddedToken(content="covid"),
    AddedToken(content="covid19"),
    AddedToken(content="Ärzte"),  # "arzte" in normalized, uncased text
    AddedToken(content="known"),  # a piece already
    AddedToken(content="[unused1]", normalized=False),
    AddedToken(content="word", single_word=True),
    AddedToken(content="<raw>", single_word=True, normalized=False),
    AddedToken(content="<left>", lstrip=True, normalized=False),
    AddedToken(content="<right>", rstrip=True, special=True, normalized=False),
    AddedToken(content="<Both>", lstrip=True, rstrip=True),
    AddedToken(content="New York"),
    AddedToken(content="中国"),
    AddedToken(content="a中"),
    AddedToken(content="Raw Case", normalized=False),
    AddedToken(content="a.b"),
)
VOCABULARY = Vocabulary(PIECES, added=ADDED)
_FRAGMENTS = (
    *(token.content for token in ADDED),
    *(token.content.upper() for token in ADDED),
    *("covi", "covid1", "d19", "wor", "words", "sword", "<raw>x", "_", "é", "e\u0301", "\u0301", "\u200b", "\u200d"),
    *(" ", " ", "  ", "\t", "\u00a0", "\u2028", "\u3000", ".", ",", "-", "x", "7", "我", "国", "가", "\U0002b820", "Σ"),
)
SETTINGS = {
    "uncased": {"lower_case": True},
    "cased": {"lower_case": False},
    "whole ideographs": {"lower_case": True, "split_cjk": False, "strip_accents": False},
}


def peer_of(vocabulary: Vocabulary, *, lower_case: bool, strip_accents=None, split_cjk=True) -> tokenizers.Tokenizer:
    ids = {piece: index for index, piece in enumerate(vocabulary.pieces)}
    peer = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    peer.normalizer = normalizers.BertNormalizer(
        lowercase=lower_case, strip_accents=strip_accents, handle_chinese_chars=split_cjk
    )
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    for token in vocabulary.added:
        flags = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        peer.add_tokens([tokenizers.AddedToken(token.content, **flags)])
    return peer


def random_texts(count: int) -> list[str]:
    rng = random.Random(17)
    return ["".join(rng.choices(_FRAGMENTS, k=rng.randint(1, 12))) for _ in range(count)]


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=SETTINGS)
def both(request) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    return Tokenizer(VOCABULARY, rules="huggingface", **request.param), peer_of(VOCABULARY, **request.param)


def test_ids_are_those_of_tokenizers(both):
    ours, peer = both
    texts = ["", "[E1] Covid patients [/E1].", *random_texts(4000)]
    found = ours.tokenize(texts).to_list()
    assert [peer.token_to_id(token.content) for token in ADDED] == [VOCABULARY[token.content] for token in ADDED]
    differing = [
        (text, row, encoded.ids)
        for text, row, encoded in zip(texts, found, peer.encode_batch(texts), strict=True)
        if row != encoded.ids
    ]
    assert not differing[:5], len(differing)


def test_offsets_slice_the_tokens_out_of_the_text(both):
    ours, _ = both
    texts = random_texts(500)
    ids, starts, ends = ours.tokenize_with_offsets(texts)
    assert ids.to_list() == ours.tokenize(texts).to_list()
    raw = {VOCABULARY[token.content]: token.content for token in ADDED if not token.normalized}
    for text, *row in zip(texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True):
        last = 0
        for token, start, end in zip(*row, strict=True):
            piece = text.encode()[start:end].decode()
            assert start < end and start >= last - 3  # a syllable that decomposes has one slice for all its pieces
            assert raw.get(token, piece) == piece
            last = end


def test_added_tokens_by_hand():
    tokenizer = Tokenizer(VOCABULARY)
    text = "The[E1]COVID-known[/E1]covid19s Ärzte sword word"
    ids, starts, ends = tokenizer.tokenize_with_offsets([text])
    found = [VOCABULARY.tokens[i] for i in ids[0].numpy()]
    assert found == [
        *(
            "the",
            "[E1]",
            "covid",
            "-",
            "known",
            "[/E1]",
            "covid19",
            "s",
            "Ärzte",
            "s",
            "##w",
            "##o",
            "##r",
            "##d",
            "word",
        )
    ]
    slices = [text.encode()[a:b].decode() for a, b in zip(starts[0].numpy(), ends[0].numpy(), strict=True)]
    assert slices == [
        *("The", "[E1]", "COVID", "-", "known", "[/E1]", "covid19", "s", "Ärzte", "s", "w", "o", "r", "d", "word")
    ]
    begins = tf.gather(tokenizer.begins_word, ids[0])
    assert begins.numpy().tolist() == [not token.startswith("##") for token in found]
    shown = tokenizer.detokenize(ids).numpy()[0].decode()
    assert shown == "the [E1] covid - known [/E1] covid19 s Ärzte sword word"


def test_special_tokens_and_added_ones_go_together():
    text = ["[MASK][E1] [CLS]covid [SEP]"]
    kept = Tokenizer(VOCABULARY, rules="huggingface", keep_special_tokens=True).tokenize(text).to_list()[0]
    assert [VOCABULARY.tokens[i] for i in kept] == ["[MASK]", "[E1]", "[CLS]", "covid", "[SEP]"]
    plain = Tokenizer(VOCABULARY, rules="huggingface").tokenize(text).to_list()[0]
    assert VOCABULARY["[E1]"] in plain
    assert not {VOCABULARY[token] for token in ("[MASK]", "[CLS]", "[SEP]")} & set(plain)


def test_a_long_word_beside_an_added_token_is_unknown_alone():
    tokenizer = Tokenizer(VOCABULARY, max_word_length=3)
    found = tokenizer.tokenize(["aaaa covid aaa aaaacovid"]).to_list()[0]
    tokens = [VOCABULARY.tokens[i] for i in found]
    assert tokens == ["[UNK]", "covid", "a", "##a", "##a", "[UNK]", "covid"]


def test_a_thousand_added_tokens():
    added = tuple(AddedToken(content=f"<entity-{i}>", special=True, normalized=False) for i in range(1000))
    vocabulary = Vocabulary(PIECES, added=added)
    text = "".join(f"a{token.content}" for token in added)
    expected = [i for token in added for i in (vocabulary["a"], vocabulary[token.content])]
    assert Tokenizer(vocabulary).tokenize([text]).to_list() == [expected]


@pytest.mark.parametrize("content", ["", " a", "a ", "##a", "a ##b", "a\0b"])
def test_an_added_token_that_is_no_word_is_refused(content):
    with pytest.raises(
        InputError, match="vocabulary: expected added tokens that neither begin nor end with white space"
    ):
        Vocabulary(PIECES, added=(AddedToken(content=content),))


def test_an_added_token_of_which_normalization_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="expected added tokens that normalization keeps. Received: '\\\\u200b'"):
        Tokenizer(Vocabulary(PIECES, added=(AddedToken(content="\u200b"),)))


def test_two_added_tokens_that_normalization_makes_one_are_refused():
    """The library takes either of them, from one process to the next."""
    added = (AddedToken(content="covid"), AddedToken(content="COVID"))
    with pytest.raises(InputError, match="differ once they are normalized. Received: 'covid' and 'COVID'"):
        Tokenizer(Vocabulary(PIECES, added=added))
    Tokenizer(Vocabulary(PIECES, added=added), lower_case=False)


def test_added_tokens_change_the_hash_of_a_vocabulary():
    assert Vocabulary(PIECES).sha256 != VOCABULARY.sha256
    assert Vocabulary(PIECES).sha256 != Vocabulary(PIECES, added=ADDED[:1]).sha256


def test_a_saved_graph_knows_added_tokens(tmp_path):
    """In ops that TF Serving has."""
    tokenizer = Tokenizer(VOCABULARY, rules="huggingface")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def serve(texts):
        return tokenizer.pack(texts, max_seq_length=32, with_offsets=True)

    module = tf.Module()
    module.tokenizer, module.serve = tokenizer, serve
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    gate.check_ops(str(tmp_path))
    texts = tf.constant(random_texts(200))
    found, expected = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](texts), serve(texts)
    for name, value in expected.items():
        assert (found[name].numpy() == value.numpy()).all(), name


def test_shards_hold_added_tokens(tmp_path):
    """--vocab takes a model's folder; the shards say what was added, and every reader of them knows it."""
    WORDPIECE.write(str(tmp_path), VOCABULARY, TokenizerConfig(), 64)
    sentence = "The [E1] virus [/E1] covid19 is known to Ärzte."
    (tmp_path / "text.txt").write_text("\n\n".join("\n".join([f"{sentence} {i}"] * 4) for i in range(40)))

    def make(**settings) -> dict:
        instances = InstanceConfig(max_seq_length=64, masking="none", pairs="none", **settings)
        config = JobConfig(instances=instances, num_shards=1, documents=DocumentConfig(deduplicate=False))
        arguments = {"vocab": str(tmp_path), "output_dir": str(tmp_path / "shards"), "config": config}
        return create_pretraining_data(input_patterns=[str(tmp_path / "text.txt")], **arguments)

    with pytest.raises(InputError, match="--lower_case must be True, as --vocab .* has it. Received: False"):
        make(lower_case=False)
    manifest = make()
    assert manifest["vocabulary"]["size"] == len(VOCABULARY)
    folder = ShardFolder.open(str(tmp_path / "shards"), "data.train")
    assert folder.vocabulary == VOCABULARY == inspection.open_folder(str(tmp_path / "shards"))[1]
    (record,) = folder.records(folder.paths("train")).take(1)
    ids = tf.io.parse_single_example(record, {"input_word_ids": tf.io.FixedLenFeature([64], tf.int64)})
    tokens = [VOCABULARY.tokens[i] for i in ids["input_word_ids"].numpy()]
    assert {"[E1]", "[/E1]", "covid19", "known", "Ärzte"} <= set(tokens)
    assert make() == manifest  # the folder is whole, so nothing is made again
