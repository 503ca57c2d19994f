"""The text of a row as segments of token ids, and whether documents contain it."""

import numpy as np

from bert_tf.text.vocabulary import CLS, SEP, Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from pipelines.filtering.cleaning import clean
from pipelines.reading.sentences import split_sentences


def as_text(ids) -> str:
    """Ids as characters, so that `in` finds a run of them."""
    return "".join(chr(0x1000 + int(number)) for number in ids)


def segments(row: dict[str, np.ndarray], vocabulary: Vocabulary) -> list[str]:
    """What stands between special tokens in a row, as `as_text` writes it, with what the masks hide."""
    ids = row["input_word_ids"].copy()
    hidden = row["masked_lm_weights"] == 1
    ids[row["masked_lm_positions"][hidden]] = row["masked_lm_ids"][hidden]
    ids = ids[row["input_mask"] == 1]
    specials = {as_text([vocabulary[CLS]]), as_text([vocabulary[SEP]])}
    text = as_text(ids)
    for special in specials:
        text = text.replace(special, " ")
    return text.split()


def document_text(text: str, tokenizer: Tokenizer) -> str:
    """A document of the input as `as_text` writes its tokens."""
    return as_text(tokenizer.tokenize(split_sentences(clean(text))).values.numpy())


def block_at(file: str, offset: int) -> str:
    """The plain text from a byte of a file to the next blank line."""
    with open(file, "rb") as opened:
        opened.seek(offset)
        return opened.read().split(b"\n\n")[0].decode()
