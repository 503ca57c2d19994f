"""WordPiece as a kind of tokenizer: vocab.txt and tokenizer_config.json; tokenizer.json is only read."""

import dataclasses
import os
from typing import Any

from bert_tf.core import config_io, whole_file
from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

CONFIG = "tokenizer_config.json"
VOCABULARY = "vocab.txt"
FAST = "tokenizer.json"
_RULES = "tokenizer_rules"  # ours; transformers has its own, and knows no others


class WordPiece:
    """See bert_tf.text.tokenizer.TokenizerKind."""

    files = (VOCABULARY, CONFIG)

    def is_there(self, folder: str) -> bool:
        return any(os.path.isfile(os.path.join(folder, name)) for name in (VOCABULARY, FAST))

    def read(self, folder: str) -> tuple[Vocabulary, TokenizerConfig, float]:
        return _read_vocabulary(folder), *_read_settings(folder)

    def write(self, folder: str, vocabulary: Vocabulary, config: TokenizerConfig, max_seq_length: int) -> None:
        _write(folder, vocabulary, config, max_seq_length)

    def make(self, vocabulary: Vocabulary, config: TokenizerConfig, *, keep_special_tokens: bool = False) -> Any:
        from bert_tf.text.wordpiece import Tokenizer  # loads TensorFlow

        return Tokenizer(vocabulary, **dataclasses.asdict(config), keep_special_tokens=keep_special_tokens)


WORDPIECE = WordPiece()


def _read_vocabulary(path: str) -> Vocabulary:
    """vocab.txt, or the vocabulary in tokenizer.json, which is all that transformers 5 writes."""
    if os.path.isfile(os.path.join(path, VOCABULARY)):
        return Vocabulary.load(os.path.join(path, VOCABULARY))
    source = os.path.join(path, FAST)
    model = config_io.read_json(source).get("model")
    if not isinstance(model, dict) or model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise InputError(f"{source}: expected a WordPiece model with its vocabulary. Received another tokenizer.")
    ids = model["vocab"]
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{source}: expected the ids 0 to {len(ids) - 1}, each once. Received others.")
    return Vocabulary(tuple(sorted(ids, key=ids.get)), source)


def _read_settings(path: str) -> tuple[TokenizerConfig, float]:
    """The settings, and the most tokens of a text (a huge number where there is no limit).

    tokenizer_config.json counts where it says something, else what tokenizer.json does; the rules are transformers',
    unless this project wrote the folder.

    Raises:
      InputError: a setting of another type.
    """
    settings_path, fast_path = os.path.join(path, CONFIG), os.path.join(path, FAST)
    settings = config_io.read_json(settings_path) if os.path.isfile(settings_path) else {}
    fast = config_io.read_json(fast_path) if os.path.isfile(fast_path) else {}
    normalizer = fast.get("normalizer") or {}
    if fast and "do_lower_case" not in settings and normalizer.get("type") != "BertNormalizer":
        raise InputError(
            f"{fast_path}: expected a normalizer of type BertNormalizer, or do_lower_case in {CONFIG}. Received: "
            f"{normalizer.get('type')!r}."
        )
    model = fast.get("model") or {}
    config = TokenizerConfig(
        lower_case=settings.get("do_lower_case", normalizer.get("lowercase", True)),
        strip_accents=settings.get("strip_accents", normalizer.get("strip_accents")),
        split_cjk=settings.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
        max_word_length=settings.get("max_input_chars_per_word", model.get("max_input_chars_per_word", 100)),
        rules=settings.get(_RULES, "huggingface" if settings or fast else "google"),
    )
    config_io.check_types(config, settings_path if settings else fast_path)
    longest = settings.get("model_max_length")
    return config, float(longest) if isinstance(longest, int | float) and longest > 0 else 1e30


def _write(path: str, vocabulary: Vocabulary, config: TokenizerConfig, max_seq_length: int) -> None:
    """Writes vocab.txt and tokenizer_config.json."""
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.lower_case,
        "strip_accents": config.strip_accents,
        "tokenize_chinese_chars": config.split_cjk,
        "max_input_chars_per_word": config.max_word_length,
        _RULES: config.rules,
        "model_max_length": max_seq_length,
        **{f"{token.strip('[]').lower()}_token": token for token in ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")},
    }
    whole_file.write_json(os.path.join(path, CONFIG), settings)
    with open(os.path.join(path, VOCABULARY), "wb") as file:
        file.write(vocabulary.serialize())
