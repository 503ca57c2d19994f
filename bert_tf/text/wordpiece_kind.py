"""WordPiece as a kind of tokenizer: vocab.txt and tokenizer_config.json; tokenizer.json is only read."""

import dataclasses
import os
from typing import Any

from bert_tf.core import whole_file
from bert_tf.text.added_tokens import decoder_of, read_vocabulary
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.tokenizer_files import CONFIG, FAST, RULES, SPECIAL_NAMES, VOCABULARY, TokenizerFiles
from bert_tf.text.vocabulary import Vocabulary


class WordPiece:
    """See bert_tf.text.tokenizer.TokenizerKind."""

    files = (VOCABULARY, CONFIG)

    def is_there(self, folder: str) -> bool:
        return any(os.path.isfile(os.path.join(folder, name)) for name in (VOCABULARY, FAST))

    def read(self, folder: str) -> tuple[Vocabulary, TokenizerConfig, float]:
        files = TokenizerFiles.read(folder)
        config, longest = files.config()
        vocabulary = read_vocabulary(files)
        files.check_fast(vocabulary)
        return vocabulary, config, longest

    def write(self, folder: str, vocabulary: Vocabulary, config: TokenizerConfig, max_seq_length: int) -> None:
        added = decoder_of(vocabulary)
        settings = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": config.lower_case,
            "strip_accents": config.strip_accents,
            "tokenize_chinese_chars": config.split_cjk,
            "max_input_chars_per_word": config.max_word_length,
            RULES: config.rules,
            "model_max_length": max_seq_length,
            **SPECIAL_NAMES,
            **({"added_tokens_decoder": added} if added else {}),
        }
        whole_file.write_json(os.path.join(folder, CONFIG), settings)
        with open(os.path.join(folder, VOCABULARY), "wb") as file:
            file.write(vocabulary.serialize())

    def make(self, vocabulary: Vocabulary, config: TokenizerConfig, *, keep_special_tokens: bool = False) -> Any:
        from bert_tf.text.wordpiece import Tokenizer  # loads TensorFlow

        return Tokenizer(vocabulary, **dataclasses.asdict(config), keep_special_tokens=keep_special_tokens)


WORDPIECE = WordPiece()
