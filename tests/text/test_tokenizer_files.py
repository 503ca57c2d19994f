"""Every setting of tokenizer_config.json and tokenizer.json is honoured, or refused by name."""

import copy
import json

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary
from bert_tf.text.wordpiece_kind import WORDPIECE

PIECES = (*SPECIAL_TOKENS, "a", "##a", "b", "##b")
NEW = len(PIECES)


def fast_tokenizer() -> tokenizers.Tokenizer:
    """As transformers makes a BertTokenizer."""
    ids = {piece: index for index, piece in enumerate(PIECES)}
    made = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    made.add_special_tokens(list(SPECIAL_TOKENS))
    return made


FAST = json.loads(fast_tokenizer().to_str())


def folder(path, *, settings=None, fast=None, **files):
    path.mkdir(exist_ok=True)
    if fast is None:
        (path / "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in PIECES).encode())
    else:
        (path / "tokenizer.json").write_text(json.dumps(fast))
    for name, value in {"tokenizer_config": settings, **files}.items():
        if value is not None:
            (path / f"{name}.json").write_text(json.dumps(value))
    return str(path)


def changed(keys: str, value) -> dict:
    """FAST with another value at a place such as "model.unk_token"."""
    fast = copy.deepcopy(FAST)
    *parents, last = keys.split(".")
    part = fast
    for key in parents:
        part = part[key]
    part[last] = value
    return fast


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        ("version", "2.0", "version: expected the format 1.0"),
        ("foo", 1, "foo: expected the format 1.0 of tokenizers. Received: 1"),
        ("normalizer", None, "normalizer: expected BertNormalizer. Received: None"),
        ("normalizer", {"type": "NFC"}, "normalizer: type: expected 'BertNormalizer'. Received: 'NFC'"),
        ("normalizer.clean_text", False, "normalizer: clean_text: expected True. Received: False"),
        ("normalizer.foo", 1, "normalizer: foo: expected no such setting. Received: 1"),
        ("pre_tokenizer", None, "pre_tokenizer: expected BertPreTokenizer. Received: None"),
        ("pre_tokenizer", {"type": "WhitespaceSplit"}, "expected 'BertPreTokenizer'. Received: 'WhitespaceSplit'"),
        ("model.type", "WordLevel", "expected a WordPiece model with its vocabulary"),
        ("model.unk_token", "<unk>", r"model: unk_token: expected '\[UNK\]'. Received: '<unk>'"),
        ("model.continuing_subword_prefix", "@@", "continuing_subword_prefix: expected '##'. Received: '@@'"),
        ("model.foo", 1, "model: foo: expected no such setting"),
        ("model.vocab", {"a": 1}, "expected the ids 0 to 0, each once"),
        ("decoder", {"type": "BPEDecoder"}, "decoder: type: expected 'WordPiece'. Received: 'BPEDecoder'"),
        ("decoder.prefix", "@@", "decoder: prefix: expected '##'"),
        (
            "post_processor",
            None,
            r"post_processor: expected TemplateProcessing with \[CLS\] and \[SEP\]. Received: None",
        ),
        ("post_processor", {"type": "RobertaProcessing"}, "Received: 'RobertaProcessing'"),
        ("post_processor.single", [], r"post_processor: single: expected \[CLS\] A \[SEP\]"),
        ("post_processor.pair", [], r"post_processor: pair: expected \[CLS\] A \[SEP\]"),
        ("post_processor.special_tokens.[CLS].ids", [0], "post_processor: special_tokens"),
        ("truncation", {"direction": "Left"}, "truncation: direction: expected 'Right'. Received: 'Left'"),
        ("truncation", {"strategy": "OnlyFirst"}, "truncation: strategy: expected 'LongestFirst'"),
        ("truncation", {"stride": 3}, "truncation: stride: expected 0. Received: 3"),
        ("padding", {"direction": "Left"}, "padding: direction: expected 'Right'. Received: 'Left'"),
        ("padding", {"pad_id": 3}, "padding: pad_id: expected 0. Received: 3"),
        ("padding", {"pad_token": "<pad>"}, "padding: pad_token: expected"),
        ("padding", {"pad_type_id": 1}, "padding: pad_type_id: expected 0"),
        ("added_tokens", {}, None),
        ("added_tokens", [{"content": "x"}], "added_tokens: expected an id of each token"),
        ("added_tokens", [{"content": "x", "id": 99}], "added_tokens: 'x': expected the id 9, as .* Received: 99"),
        ("added_tokens", [{"content": "a", "id": 9}], "'a': expected the id 5"),
        ("added_tokens", [{"content": "x", "id": 9, "foo": True}], "'x': expected the flags .* Received: foo: True"),
        (
            "added_tokens",
            [{"content": "[MASK]", "id": 4, "normalized": True}],
            r"\[MASK\]: expected normalized and single_word to be false. Received: normalized",
        ),
    ],
)
def test_a_setting_of_tokenizer_json_that_is_not_supported_is_named(tmp_path, keys, value, sentence):
    path = folder(tmp_path / "model", fast=changed(keys, value))
    if sentence is None:
        WORDPIECE.read(path)
        return
    with pytest.raises(InputError, match=f"tokenizer.json.*{sentence}"):
        WORDPIECE.read(path)


def test_every_setting_of_tokenizer_json_that_is_supported_is_honoured(tmp_path):
    made = fast_tokenizer()
    made.enable_truncation(7)
    made.enable_padding(length=7, pad_id=0, pad_token="[PAD]")
    made.add_tokens([tokenizers.AddedToken("covid")])
    made.add_special_tokens([tokenizers.AddedToken("[E1]", lstrip=True)])
    fast = json.loads(made.to_str())
    fast["normalizer"] |= {"handle_chinese_chars": False, "strip_accents": True, "lowercase": False}
    fast["model"]["max_input_chars_per_word"] = 7
    vocabulary, config, longest = WORDPIECE.read(folder(tmp_path / "model", fast=fast))
    assert config == TokenizerConfig(
        lower_case=False, strip_accents=True, split_cjk=False, max_word_length=7, rules="huggingface"
    )
    assert longest > 1e20  # the truncation of a call is none of the model
    assert vocabulary == Vocabulary(
        PIECES,
        added=(AddedToken(content="covid"), AddedToken(content="[E1]", special=True, normalized=False, lstrip=True)),
    )
    fast["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    WORDPIECE.read(folder(tmp_path / "model", fast=fast))
    # vocab.txt beside it must be the same.
    (tmp_path / "model/vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    WORDPIECE.read(folder(tmp_path / "model", fast=fast))
    (tmp_path / "model/vocab.txt").write_text("".join(f"{piece}\n" for piece in reversed(PIECES)))
    with pytest.raises(InputError, match="tokenizer.json: expected the vocabulary of vocab.txt beside it"):
        WORDPIECE.read(folder(tmp_path / "model", fast=fast))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class: expected BertTokenizer. Received: 'BertJ"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "tokenizer_class: expected tokenizer.json beside"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize: expected True. Received: False"),
        ({"never_split": ["a"]}, "never_split: expected None. Received: \\['a'\\]"),
        ({"split_special_tokens": True}, "split_special_tokens: expected False"),
        ({"truncation_side": "left"}, "truncation_side: expected 'right'"),
        ({"padding_side": "left"}, "padding_side: expected 'right'. Received: 'left'"),
        ({"truncation_strategy": "only_first"}, "truncation_strategy: expected 'longest_first'"),
        ({"stride": 8}, "stride: expected 0"),
        ({"pad_token_type_id": 1}, "pad_token_type_id: expected 0"),
        ({"wordpieces_prefix": "@@"}, "wordpieces_prefix: expected '##'. Received: '@@'"),
        ({"add_prefix_space": True}, "add_prefix_space: expected False"),
        ({"add_bos_token": True}, "add_bos_token: expected False"),
        ({"add_eos_token": True}, "add_eos_token: expected False"),
        ({"word_tokenizer_type": "mecab"}, "word_tokenizer_type: expected 'basic'. Received: 'mecab'"),
        ({"subword_tokenizer_type": "character"}, "subword_tokenizer_type: expected 'wordpiece'"),
        ({"do_word_tokenize": False}, "do_word_tokenize: expected True"),
        ({"do_subword_tokenize": False}, "do_subword_tokenize: expected True"),
        ({"mecab_kwargs": {}}, "mecab_kwargs: expected None"),
        ({"auto_map": {"AutoTokenizer": "x"}}, "auto_map: expected None"),
        ({"model_input_names": ["input_ids"]}, "model_input_names: expected token_type_ids among them"),
        ({"foo": 1}, "foo: expected no such setting, .* Received: 1. Remove it if"),
        ({"do_lower_case": "yes"}, "lower_case: expected bool. Received: 'yes'"),
        ({"strip_accents": 1}, "strip_accents: expected"),
        ({"tokenize_chinese_chars": None}, "split_cjk: expected bool"),
        ({"unk_token": "<unk>"}, r"unk_token: expected \[UNK\]. Received: '<unk>'"),
        ({"mask_token": {"content": "<mask>"}}, r"mask_token: expected \[MASK\]. Received: '<mask>'"),
        ({"cls_token": 3}, "cls_token: expected a token. Received: 3"),
        ({"mask_token": {"content": "[MASK]", "normalized": True}}, "expected normalized and single_word to be false"),
        ({"added_tokens_decoder": []}, None),
        ({"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder: expected {id: token}"),
        ({"added_tokens_decoder": {"12": {"content": "x"}}}, "'x': expected the id 9, as transformers gives it"),
        ({"added_tokens_decoder": {"9": {"content": " x"}}}, "expected added tokens that neither begin nor end with"),
    ],
)
def test_a_setting_of_tokenizer_config_that_is_not_supported_is_named(tmp_path, settings, sentence):
    path = folder(tmp_path / "model", settings=settings)
    if sentence is None:
        WORDPIECE.read(path)
        return
    with pytest.raises(InputError, match=sentence):
        WORDPIECE.read(path)


def test_every_setting_of_tokenizer_config_that_is_supported_is_honoured(tmp_path):
    decoder = {
        "4": {"content": "[MASK]", "special": True, "normalized": False, "lstrip": True},
        "5": {"content": "a"},
        "9": {"content": "<x>", "single_word": True, "rstrip": True, "normalized": True, "special": True},
    }
    settings = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": False,
        "strip_accents": True,
        "model_max_length": 77,
        "tokenize_chinese_chars": False,
        "max_input_chars_per_word": 9,
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": True,
        "name_or_path": "x",
        "never_split": None,
        "max_length": 3,
        "unk_token": "[UNK]",
        "mask_token": {"content": "[MASK]", "__type": "AddedToken"},
        "bos_token": None,
        "additional_special_tokens": ["[E1]", {"content": "[E2]"}],
        "extra_special_tokens": {"third": "[E3]"},
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "backend": "tokenizers",
    }
    vocabulary, config, longest = WORDPIECE.read(folder(tmp_path / "model", settings=settings))
    assert config == TokenizerConfig(
        lower_case=False, strip_accents=True, split_cjk=False, max_word_length=9, rules="huggingface"
    )
    assert longest == 77
    special = {"special": True, "normalized": False}
    assert vocabulary.added == (
        AddedToken(content="a"),
        AddedToken(content="<x>", single_word=True, rstrip=True, special=True),
        *(AddedToken(content=f"[E{i}]", **special) for i in (1, 2, 3)),
    )
    assert vocabulary.tokens[NEW:] == ("<x>", "[E1]", "[E2]", "[E3]")
    assert WORDPIECE.read(folder(tmp_path / "old", settings={"max_len": 55}))[2] == 55
    assert WORDPIECE.read(folder(tmp_path / "bare")) == (Vocabulary(PIECES), TokenizerConfig(), 1e30)


def test_a_generic_class_does_what_tokenizer_json_says(tmp_path):
    settings = {"tokenizer_class": "TokenizersBackend", "do_lower_case": True}
    assert not WORDPIECE.read(folder(tmp_path / "a", settings=settings, fast=FAST))[1].lower_case
    settings["tokenizer_class"] = "BertTokenizer"
    assert WORDPIECE.read(folder(tmp_path / "b", settings=settings, fast=FAST))[1].lower_case


def test_older_files_name_added_tokens(tmp_path):
    path = folder(
        tmp_path / "model",
        added_tokens={"[E1]": NEW + 1, "covid": NEW},
        special_tokens_map={"additional_special_tokens": ["[E1]"], "mask_token": "[MASK]"},
    )
    vocabulary, _, _ = WORDPIECE.read(path)
    assert vocabulary.added == (
        AddedToken(content="covid"),
        AddedToken(content="[E1]", special=True, normalized=False),
    )
    assert vocabulary.tokens[NEW:] == ("covid", "[E1]")
    with pytest.raises(InputError, match="special_tokens_map.json: mask_token: expected"):
        WORDPIECE.read(folder(tmp_path / "other", special_tokens_map={"mask_token": "<mask>"}))
    with pytest.raises(InputError, match="special_tokens_map.json: expected .* Received: 'foo'"):
        WORDPIECE.read(folder(tmp_path / "foo", special_tokens_map={"foo": "<mask>"}))
    with pytest.raises(InputError, match="added_tokens.json: 'covid': expected the id 9, .* Received: 20"):
        WORDPIECE.read(folder(tmp_path / "hole", added_tokens={"covid": 20}))


def test_files_that_contradict_one_another_are_named(tmp_path):
    fast = changed("added_tokens", [{"content": "x", "id": NEW, "special": True}])
    settings = {"added_tokens_decoder": {str(NEW): {"content": "x", "single_word": True}}}
    with pytest.raises(InputError, match="added_tokens_decoder: expected the flags of 'x' that .*tokenizer.json"):
        WORDPIECE.read(folder(tmp_path / "model", settings=settings, fast=fast))


def test_what_is_written_is_read_again(tmp_path):
    added = (
        AddedToken(content="b"),
        AddedToken(content="covid", single_word=True),
        AddedToken(content="[E1]", special=True, normalized=False, lstrip=True),
    )
    for vocabulary in (Vocabulary(PIECES), Vocabulary(PIECES, added=added)):
        config = TokenizerConfig(lower_case=False, max_word_length=50, rules="huggingface")
        WORDPIECE.write(str(tmp_path), vocabulary, config, 12)
        assert WORDPIECE.read(str(tmp_path)) == (vocabulary, config, 12)
