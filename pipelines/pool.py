"""One pool of documents -> one shard's records. Plain functions, no Beam: everything is local and vectorised."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bert_tf import records
from bert_tf.vocabulary import Vocabulary
from pipelines.documents import document_id, split_sentences
from pipelines.masking import mask_tokens
from pipelines.sentence_pairs import Pair, TokenizedDocument, document_pairs

if TYPE_CHECKING:  # the launcher reads InstanceConfig from here and must not load TensorFlow for it
    from bert_tf.tokenizer import Tokenizer

_SENTENCES_PER_CALL = 8192  # bounds the tokenizer's memory; the ids do not depend on it


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceConfig:
    """How instances are made. Defaults are those of the BERT paper's first phase."""

    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1
    seed: int = 12345
    lower_case: bool = True

    @property
    def layout(self) -> records.RecordLayout:
        return records.RecordLayout(
            max_seq_length=self.max_seq_length, max_predictions_per_seq=self.max_predictions_per_seq
        )


def make_records(
    name: str, keyed_texts: Iterable[tuple[bytes, str]], tokenizer: "Tokenizer", config: InstanceConfig
) -> tuple[list[bytes], collections.Counter]:
    """Turns the documents of one pool into serialized records in their final order.

    Args:
      name: the shard's name, part of every seed.
      keyed_texts: (order key, document) in any order; the key is a hash of (seed, pass, document id).
      tokenizer: text to ids.
      config: sizes, probabilities and the seed.

    Returns:
      Records, and counts for the summary.
    """
    counts: collections.Counter = collections.Counter()
    # Sorting by key is the shuffle; exact duplicates have the same key, hence the same pool, and fall together.
    keys, documents = _tokenize(sorted(dict(keyed_texts).items()), tokenizer, counts)
    pairs = []
    for index, key in enumerate(keys):
        made = document_pairs(
            index,
            documents,
            max_seq_length=config.max_seq_length,
            short_seq_prob=config.short_seq_prob,
            rng=np.random.default_rng([config.seed, 1, int.from_bytes(key)]),
        )
        counts["documents_without_pair"] += not made
        pairs += made
    if not pairs:
        return [], counts
    shard_seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    shuffle = np.random.default_rng([config.seed, 2, shard_seed])
    order = shuffle.permutation(len(pairs))
    features = assemble([pairs[i] for i in order], tokenizer.vocabulary, config.max_seq_length)
    maskable = features.pop("maskable")
    features |= mask_tokens(
        features["input_word_ids"],
        maskable,
        vocabulary=tokenizer.vocabulary,
        masked_lm_prob=config.masked_lm_prob,
        max_predictions_per_seq=config.max_predictions_per_seq,
        rng=np.random.default_rng([config.seed, 3, shard_seed]),
    )
    counts["instances"] = len(pairs)
    counts["instance_tokens"] = int(features["input_mask"].sum())
    counts["random_next"] = int(features["next_sentence_labels"].sum())
    counts["predictions"] = int(features["masked_lm_weights"].sum())
    return records.encode(features, config.layout), counts


def _tokenize(
    keyed_texts: Sequence[tuple[bytes, str]], tokenizer: "Tokenizer", counts: collections.Counter
) -> tuple[list[bytes], list[TokenizedDocument]]:
    """Splits into sentences and tokenizes all of them in a few calls. Returns keys and documents that hold a token."""
    owners, sentences = [], []
    for owner, (_, text) in enumerate(keyed_texts):
        parts = split_sentences(text)
        sentences += parts
        owners += [owner] * len(parts)
    arrays: list[list[np.ndarray]] = [[] for _ in keyed_texts]
    for start in range(0, len(sentences), _SENTENCES_PER_CALL):
        ragged = tokenizer.tokenize(sentences[start : start + _SENTENCES_PER_CALL])
        rows = np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])
        for owner, row in zip(owners[start : start + _SENTENCES_PER_CALL], rows, strict=True):
            if len(row):
                arrays[owner].append(row)
    keys, documents = [], []
    for (key, text), rows in zip(keyed_texts, arrays, strict=True):
        counts["passes_over_documents"] += 1
        if rows:
            keys.append(key)
            documents.append(TokenizedDocument(document_id(text), rows))
            counts["sentences"] += len(rows)
            counts["tokens"] += sum(len(row) for row in rows)
        else:
            counts["empty_documents"] += 1
    return keys, documents


def assemble(pairs: Sequence[Pair], vocabulary: Vocabulary, max_seq_length: int) -> dict[str, np.ndarray]:
    """[CLS] A [SEP] B [SEP] for every pair.

    Returns:
      input_word_ids, input_mask, input_type_ids [rows, max_seq_length], next_sentence_labels [rows, 1], and maskable
      [rows, max_seq_length], which is True where a word piece stands.
    """
    shape = (len(pairs), max_seq_length)
    word_ids = np.full(shape, vocabulary["[PAD]"], np.int32)
    mask, type_ids = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    maskable = np.zeros(shape, bool)
    for row, (first, second, _) in enumerate(pairs):
        a_end = 1 + len(first)
        b_end = a_end + 1 + len(second)
        word_ids[row, 0] = vocabulary["[CLS]"]
        word_ids[row, 1:a_end] = first
        word_ids[row, a_end + 1 : b_end] = second
        word_ids[row, [a_end, b_end]] = vocabulary["[SEP]"]
        mask[row, : b_end + 1] = 1
        type_ids[row, a_end + 1 : b_end + 1] = 1
        maskable[row, 1:b_end] = True
        maskable[row, a_end] = False
    return {
        "input_word_ids": word_ids,
        "input_mask": mask,
        "input_type_ids": type_ids,
        "maskable": maskable,
        "next_sentence_labels": np.array([[pair.is_random_next] for pair in pairs], np.int32),
    }
