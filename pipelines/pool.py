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
from pipelines.sentence_pairs import Pairs, TokenPool, next_sentence_pairs

if TYPE_CHECKING:  # the launcher reads InstanceConfig from here and must not load TensorFlow for it
    from bert_tf.tokenizer import Tokenizer

_SENTENCES_PER_CALL = 8192  # bounds the tokenizer's memory; the ids do not depend on it
_ROWS_PER_CALL = 4096  # bounds the memory of assembled rows; the masks depend on it


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
    pool = _tokenize([text for _, text in sorted(dict(keyed_texts).items())], tokenizer, counts)
    shard_seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    pairs = next_sentence_pairs(
        pool,
        max_seq_length=config.max_seq_length,
        short_seq_prob=config.short_seq_prob,
        rng=np.random.default_rng([config.seed, 1, shard_seed]),
    )
    counts["documents_without_pair"] += len(pool.identities) - len(np.unique(pairs.document))
    pairs = pairs.take(np.random.default_rng([config.seed, 2, shard_seed]).permutation(len(pairs)))
    masks = np.random.default_rng([config.seed, 3, shard_seed])
    serialized: list[bytes] = []
    for start in range(0, len(pairs), _ROWS_PER_CALL):
        rows = pairs.take(np.arange(start, min(start + _ROWS_PER_CALL, len(pairs))))
        features = assemble(rows, pool.tokens, tokenizer.vocabulary, config.max_seq_length)
        maskable = features.pop("maskable")
        features |= mask_tokens(
            features["input_word_ids"],
            maskable,
            vocabulary=tokenizer.vocabulary,
            masked_lm_prob=config.masked_lm_prob,
            max_predictions_per_seq=config.max_predictions_per_seq,
            rng=masks,
        )
        counts["instances"] += len(rows)
        counts["instance_tokens"] += int(features["input_mask"].sum())
        counts["random_next"] += int(features["next_sentence_labels"].sum())
        counts["predictions"] += int(features["masked_lm_weights"].sum())
        serialized += records.encode(features, config.layout)
    return serialized, counts


def _tokenize(texts: Sequence[str], tokenizer: "Tokenizer", counts: collections.Counter) -> TokenPool:
    """Splits into sentences and tokenizes all of them in a few calls; keeps documents that hold a token."""
    sentences: list[str] = []
    sizes = []
    for text in texts:
        parts = split_sentences(text)
        sentences += parts
        sizes.append(len(parts))
    tokens, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for start in range(0, len(sentences), _SENTENCES_PER_CALL):
        ragged = tokenizer.tokenize(sentences[start : start + _SENTENCES_PER_CALL])
        tokens.append(ragged.values.numpy())
        lengths.append(np.diff(ragged.row_splits.numpy()))
    length = np.concatenate(lengths)
    owner = np.repeat(np.arange(len(texts)), sizes)[length > 0]
    length = length[length > 0]
    kept, per_document = np.unique(owner, return_counts=True)
    counts["passes_over_documents"] += len(texts)
    counts["empty_documents"] += len(texts) - len(kept)
    counts["sentences"] += len(length)
    counts["tokens"] += int(length.sum())
    return TokenPool(
        tokens=np.concatenate(tokens),
        sentences=np.concatenate([[0], np.cumsum(length)]),
        documents=np.concatenate([[0], np.cumsum(per_document)]),
        identities=[document_id(texts[index]) for index in kept.tolist()],
    )


def assemble(pairs: Pairs, tokens: np.ndarray, vocabulary: Vocabulary, max_seq_length: int) -> dict[str, np.ndarray]:
    """[CLS] A [SEP] B [SEP] for every pair.

    Returns:
      input_word_ids, input_mask, input_type_ids [rows, max_seq_length], next_sentence_labels [rows, 1], and maskable
      [rows, max_seq_length], which is True where a word piece stands.
    """
    position = np.arange(max_seq_length)
    first_sep = (pairs.first_end - pairs.first_start)[:, None] + 1
    last_sep = first_sep + 1 + (pairs.second_end - pairs.second_start)[:, None]
    in_first = (position > 0) & (position < first_sep)
    in_second = (position > first_sep) & (position < last_sep)
    maskable = in_first | in_second
    source = np.where(in_second, pairs.second_start[:, None] - first_sep, pairs.first_start[:, None]) + position - 1
    word_ids = np.full(maskable.shape, vocabulary["[PAD]"], np.int32)
    word_ids[maskable] = tokens[source[maskable]]
    word_ids[:, 0] = vocabulary["[CLS]"]
    for place in (first_sep, last_sep):
        np.put_along_axis(word_ids, place, vocabulary["[SEP]"], axis=1)
    return {
        "input_word_ids": word_ids,
        "input_mask": (position <= last_sep).astype(np.int32),
        "input_type_ids": ((position > first_sep) & (position <= last_sep)).astype(np.int32),
        "maskable": maskable,
        "next_sentence_labels": pairs.is_random_next[:, None].astype(np.int32),
    }
