"""Reads Hugging Face's tokenizer_config.json and tokenizer.json; refuses settings that are not supported, by name.

Tables list every setting of the two formats. A setting that changes ids or rows is refused if its value differs from
what this project's tokenizer does. A setting that no table lists is refused too, because its effect is unknown.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import CLS, PAD, SEP, SPECIAL_TOKENS, UNK, Vocabulary, read_lines

CONFIG, FAST, VOCABULARY = "tokenizer_config.json", "tokenizer.json", "vocab.txt"
RULES = "tokenizer_rules"  # ours; transformers has its own, and knows no others
# {setting of a special token: the token}
SPECIAL_NAMES = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS}
# Classes that tokenize as BERT, and those that do what tokenizer.json says, whatever else tokenizer_config.json has.
_BERT_CLASSES = {f"{name}Tokenizer{end}" for name in ("Bert", "DistilBert", "Electra") for end in ("", "Fast")}
_GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
_OF_BERT = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")

# Settings of tokenizer_config.json that this project reads, here or in added_tokens.py.
_READ = {
    *(*_OF_BERT, *SPECIAL_NAMES, RULES, "max_input_chars_per_word", "model_max_length", "max_len", "tokenizer_class"),
    *("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "bos_token", "eos_token"),
}
# Those on which neither ids nor rows depend: names, decoding, and how a caller of transformers asks.
_WITHOUT_EFFECT = {
    *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "init_inputs", "processor_class"),
    *("clean_up_tokenization_spaces", "spaces_between_special_tokens", "chat_template", "errors"),
    *("max_length", "pad_to_multiple_of", "padding", "truncation", "return_token_type_ids", "return_tensors"),
    *("backend", "is_local", "local_files_only", "use_fast", "legacy", "from_slow", "_commit_hash"),
}
# {setting: the values that mean what this project does}; one that is absent means it too.
_ONLY: dict[str, tuple] = {
    "do_basic_tokenize": (True,),
    "never_split": (None, []),
    "split_special_tokens": (False,),
    "truncation_side": ("right",),
    "padding_side": ("right",),
    "truncation_strategy": ("longest_first",),
    "stride": (0,),
    "pad_token_type_id": (0,),
    "wordpieces_prefix": ("##",),
    "add_prefix_space": (False, None),
    "add_bos_token": (False, None),
    "add_eos_token": (False, None),
    "word_tokenizer_type": ("basic", None),
    "subword_tokenizer_type": ("wordpiece", None),
    "do_word_tokenize": (True,),
    "do_subword_tokenize": (True,),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
    "auto_map": (None,),
}

# Of tokenizer.json.
_PARTS = {
    *("version", "added_tokens", "truncation", "padding"),
    *("normalizer", "pre_tokenizer", "model", "post_processor", "decoder"),
}


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """The two files of a folder.

    Attributes:
      folder: theirs.
      settings: tokenizer_config.json; {} without one.
      fast: tokenizer.json; {} without one.
    """

    folder: str
    settings: Mapping[str, Any]
    fast: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str) -> "TokenizerFiles":
        """Reads them.

        Raises:
          InputError: a file that is no JSON object.
        """
        paths = [os.path.join(folder, name) for name in (CONFIG, FAST)]
        return cls(folder, *(config_io.read_json(path) if os.path.isfile(path) else {} for path in paths))

    def pieces(self) -> tuple[tuple[str, ...], str]:
        """The tokens of vocab.txt or tokenizer.json, which must be the same where both are, and the file's path.

        Raises:
          InputError: another kind of vocabulary, or two that differ.
        """
        text_path, fast_path = (os.path.join(self.folder, name) for name in (VOCABULARY, FAST))
        if not self.fast:
            return read_lines(text_path), text_path
        model = self.fast.get("model")
        model = model if isinstance(model, dict) else {}
        ids = model.get("vocab")
        if not isinstance(ids, dict) or model.get("type", "WordPiece") != "WordPiece":
            raise InputError(
                f"{fast_path}: expected a WordPiece model with its vocabulary. Received another tokenizer."
            )
        if sorted(ids.values()) != list(range(len(ids))):
            raise InputError(f"{fast_path}: expected the ids 0 to {len(ids) - 1}, each once. Received others.")
        pieces = tuple(sorted(ids, key=ids.__getitem__))
        if os.path.isfile(text_path) and read_lines(text_path) != pieces:
            raise InputError(f"{fast_path}: expected the vocabulary of {VOCABULARY} beside it. Received another one.")
        return pieces, fast_path

    def config(self) -> tuple[TokenizerConfig, float]:
        """The settings, and the most tokens of a text (a huge number where there is no limit).

        tokenizer_config.json counts where it has a setting, else tokenizer.json, as in transformers 4. The class
        BertTokenizer of transformers 5 reads these settings in tokenizer_config.json only, and has a limit of 100
        characters always. The rules are transformers', unless this project wrote the folder.

        Raises:
          InputError: a setting of another type, or one that means another tokenizer.
        """
        place = os.path.join(self.folder, CONFIG)
        settings = dict(self.settings)
        self._check_settings(place)
        if settings.get("tokenizer_class") in _GENERIC_CLASSES:
            settings = {name: value for name, value in settings.items() if name not in _OF_BERT}
        normalizer, model = self.fast.get("normalizer") or {}, self.fast.get("model") or {}
        config = TokenizerConfig(
            lower_case=settings.get("do_lower_case", normalizer.get("lowercase", True)),
            strip_accents=settings.get("strip_accents", normalizer.get("strip_accents")),
            split_cjk=settings.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
            max_word_length=settings.get("max_input_chars_per_word", model.get("max_input_chars_per_word", 100)),
            rules=settings.get(RULES, "huggingface" if self.settings or self.fast else "google"),
        )
        config_io.check_types(config, place if self.settings else os.path.join(self.folder, FAST))
        longest = settings.get("model_max_length", settings.get("max_len"))
        return config, float(longest) if isinstance(longest, int | float) and longest > 0 else 1e30

    def _check_settings(self, place: str) -> None:
        settings, name = self.settings, self.settings.get("tokenizer_class")
        if name is not None and name not in _BERT_CLASSES | _GENERIC_CLASSES:
            raise InputError(f"{place}: tokenizer_class: expected BertTokenizer. Received: {name!r}.")
        if name in _GENERIC_CLASSES and not self.fast:
            raise InputError(f"{place}: tokenizer_class: expected {FAST} beside {name}. Received a folder without it.")
        for setting, only in _ONLY.items():
            if setting in settings and settings[setting] not in only:
                raise InputError(f"{place}: {setting}: expected {only[0]!r}. Received: {settings[setting]!r}.")
        names = settings.get("model_input_names")
        if names is not None and "token_type_ids" not in names:
            raise InputError(f"{place}: model_input_names: expected token_type_ids among them. Received: {names!r}.")
        unknown = sorted(set(settings) - _READ - _WITHOUT_EFFECT - set(_ONLY) - {"model_input_names"})
        if unknown:
            raise InputError(
                f"{place}: {unknown[0]}: expected no such setting, since this project does not know what it changes. "
                f"Received: {settings[unknown[0]]!r}. Remove it if ids do not depend on it."
            )

    def check_fast(self, vocabulary: Vocabulary) -> None:
        """Refuses a tokenizer.json of which a part does something else than this project's tokenizer.

        Args:
          vocabulary: with added tokens.

        Raises:
          InputError: names the part.
        """
        if not self.fast:
            return
        place, ids = os.path.join(self.folder, FAST), vocabulary.ids
        normalizer = {"type": "BertNormalizer", "clean_text": True}
        pre_tokenizer = {"type": "BertPreTokenizer"}
        model = {"unk_token": UNK, "continuing_subword_prefix": "##"}
        padding = {"direction": "Right", "pad_id": ids[PAD], "pad_type_id": 0, "pad_token": PAD}
        truncation = {"direction": "Right", "strategy": "LongestFirst", "stride": 0}
        for name, expected, ignored, may_be_absent in (
            # How long a text may be, and whether it is padded, is the caller's choice in transformers.
            ("truncation", truncation, {"max_length"}, True),
            ("padding", padding, {"strategy", "pad_to_multiple_of"}, True),
            ("normalizer", normalizer, {"handle_chinese_chars", "strip_accents", "lowercase"}, False),
            ("pre_tokenizer", pre_tokenizer, set(), False),
            ("model", model, {"type", "vocab", "max_input_chars_per_word"}, False),
            ("decoder", {"type": "WordPiece", "prefix": "##"}, {"cleanup"}, True),
        ):
            part = self.fast.get(name)
            if part is None and may_be_absent:
                continue
            _check_part(f"{place}: {name}", part, expected, ignored)
        _check_framing(f"{place}: post_processor", self.fast.get("post_processor"), ids)
        unknown = sorted(set(self.fast) - _PARTS)
        if unknown or self.fast.get("version", "1.0") != "1.0":
            name = unknown[0] if unknown else "version"
            raise InputError(f"{place}: {name}: expected the format 1.0 of tokenizers. Received: {self.fast[name]!r}.")


def _check_part(place: str, part: Any, expected: Mapping[str, Any], ignored: set[str]) -> None:
    if not isinstance(part, dict):
        raise InputError(f"{place}: expected {expected.get('type', 'an object')}. Received: {part!r}.")
    for name, value in expected.items():
        if part.get(name, value if name != "type" else None) != value:
            raise InputError(f"{place}: {name}: expected {value!r}. Received: {part.get(name)!r}.")
    unknown = sorted(set(part) - set(expected) - ignored)
    if unknown:
        raise InputError(f"{place}: {unknown[0]}: expected no such setting. Received: {part[unknown[0]]!r}.")


def _check_framing(place: str, part: Any, ids: Mapping[str, int]) -> None:
    """[CLS] first [SEP] second [SEP], of types 0 and 1, in either form of tokenizers."""

    def special(token: str, type_id: int) -> dict:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(CLS, 0), text("A", 0), special(SEP, 0)]
    tokens = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (CLS, SEP)}
    template = {"single": single, "pair": [*single, text("B", 1), special(SEP, 1)], "special_tokens": tokens}
    bert = {"cls": [CLS, ids[CLS]], "sep": [SEP, ids[SEP]]}
    kind = part.get("type") if isinstance(part, dict) else None
    forms: dict[Any, dict] = {"TemplateProcessing": template, "BertProcessing": bert}
    if kind not in forms:
        raise InputError(f"{place}: expected TemplateProcessing with {CLS} and {SEP}. Received: {kind or part!r}.")
    for name, value in forms[kind].items():
        if part.get(name) != value:
            raise InputError(f"{place}: {name}: expected {CLS} A {SEP} B {SEP}. Received: {part.get(name)!r}.")
