"""One pool of documents -> one shard's records. Plain functions, no Beam: everything is local and vectorised."""

import collections
import dataclasses
import hashlib
import operator
from collections.abc import Iterable, Iterator

import numpy as np

from bert_tf.core import records
from bert_tf.core.errors import require
from bert_tf.core.provenance import Origin, RowDocuments
from bert_tf.text.tokenizer import TextTokenizer, tokenizer_kind
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import UNK, Vocabulary
from pipelines.instances import masking, packing, sentence_pairs
from pipelines.instances.row_documents import rows_by_document
from pipelines.instances.sentence_pairs import Pairs
from pipelines.instances.token_pool import TokenPool
from pipelines.reading import sentences as sentence_splitting
from pipelines.reading.documents import document_id

_SENTENCES_PER_CALL = 8192  # bounds the tokenizer's memory; the ids do not depend on it
_ROWS_PER_CALL = 4096  # bounds the memory of assembled rows; the masks depend on it
_LENGTHS = 8  # ranges of equal width in which rows are counted by their length


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceConfig:
    """How instances are made. Defaults are those of the BERT paper's first phase."""

    max_seq_length: int = 128  # tokens of a row, special tokens included
    max_predictions_per_seq: int | None = None  # of a row; None: room for masked_lm_prob of a full one
    masked_lm_prob: float = 0.15
    masking: str = "wordpiece"  # one of masking.METHODS
    pairs: str = "next_sentence"  # one of sentence_pairs.METHODS
    short_seq_prob: float = 0.1
    sentences: str = "auto"  # one of pipelines.reading.sentences.METHODS
    packing: bool = False
    max_sequences_per_row: int = 0  # of a packed row; 0 = one for every 16 positions
    seed: int = 12345
    tokenizer: str = "wordpiece"  # kind of the vocabulary, one of bert_tf.text.tokenizer.TOKENIZERS
    lower_case: bool = True
    strip_accents: bool | None = None  # None: as lower_case
    split_cjk: bool = True
    max_word_length: int = 100  # characters; longer words are [UNK]
    rules: str = "google"  # or "huggingface", as the folder that --vocab names has it; see TokenizerConfig

    def __post_init__(self):
        length, share = self.max_seq_length, self.masked_lm_prob
        require(length >= 5, "--max_seq_length must be at least 5", length)
        require(0 < share < 1, "--masked_lm_prob must lie in (0, 1)", share)
        if self.max_predictions_per_seq is None:
            object.__setattr__(self, "max_predictions_per_seq", records.usual_predictions(share, length))
        predictions = self.predictions
        require(predictions >= 1, "--max_predictions_per_seq must be at least 1", predictions)
        require(0 <= self.short_seq_prob <= 1, "--short_seq_prob must lie in [0, 1]", self.short_seq_prob)
        require(0 <= self.seed < 2**63, "--seed must lie in [0, 2^63)", self.seed)
        require(self.masking in masking.METHODS, f"--masking must be one of {masking.METHODS}", self.masking)
        require(self.pairs in sentence_pairs.METHODS, f"--pairs must be one of {sentence_pairs.METHODS}", self.pairs)
        methods = sentence_splitting.METHODS
        require(self.sentences in methods, f"--sentences must be one of {methods}", self.sentences)
        tokenizer_kind(self.tokenizer)
        sequences = self.max_sequences_per_row
        require(0 <= sequences <= length, "--max_sequences_per_row must lie in [0, max_seq_length]", sequences)
        require(self.packing or not sequences, "--max_sequences_per_row goes with --packing only", sequences)
        longest = self.max_word_length
        require(1 <= longest <= 10_000, "--max_word_length must lie in [1, 10000]", longest)

    @property
    def predictions(self) -> int:
        """max_predictions_per_seq, which has a value once it is checked."""
        return self.max_predictions_per_seq or 0

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        """How text is normalized."""
        return TokenizerConfig(
            lower_case=self.lower_case,
            strip_accents=self.strip_accents,
            split_cjk=self.split_cjk,
            max_word_length=self.max_word_length,
            rules=self.rules,  # type: ignore[arg-type]  # of a TokenizerConfig
        )

    @property
    def layout(self) -> records.RecordLayout:
        """The shapes of the records that these settings make."""
        sequences = self.max_sequences_per_row or max(2, self.max_seq_length // 16)
        return records.RecordLayout(
            max_seq_length=self.max_seq_length,
            max_predictions_per_seq=0 if self.masking == "none" else self.predictions,
            has_pairs=self.pairs != "none",
            max_sequences_per_row=sequences if self.packing else 0,
        )


def make_records(
    name: str,
    documents: Iterable[tuple[bytes, str, Origin]],
    tokenizer: TextTokenizer,
    config: InstanceConfig,
    counts: collections.Counter,
) -> tuple[Iterator[list[bytes]], RowDocuments]:
    """Turns the documents of one pool into serialized records.

    Args:
      name: the shard's name, part of every seed.
      documents: (order key, text, origin) in any order; the key is a hash of (seed, pass, document id).
      tokenizer: text to ids.
      config: sizes, probabilities and the seed.
      counts: is added to, for the summary.

    Returns:
      The records in their final order, a few thousand at a time; and the documents that each of them was made from.
    """
    pool, origins = _tokenize(documents, tokenizer, config.sentences, counts)
    shard_seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())

    def rng(stage: int) -> np.random.Generator:
        return np.random.default_rng([config.seed, stage, shard_seed])

    tokens, pairs = _segments(pool, tokenizer.vocabulary, config, rng(1))
    counts["documents_without_instance"] += len(pool.identities) - _documents_used(pool, pairs, config)
    # Full sentences leave no token out.
    counts["tokens_unused"] += len(pool.tokens) - pairs.tokens_used(config.pairs) if config.pairs != "none" else 0
    pairs = pairs.take(rng(2).permutation(len(pairs)))
    rows = _rows(pairs, config, rng(4))
    begins = pool.sentences[pool.documents[:-1]]
    if config.pairs == "none":
        begins = begins + np.arange(len(begins))  # moved by the separators in front
    made_of = RowDocuments(pool.identities, origins, *rows_by_document(pairs, rows, begins))
    return _encoded(tokens, pairs, rows, tokenizer, config, rng(3), counts), made_of


def _encoded(
    tokens: np.ndarray,
    pairs: Pairs,
    rows: packing.Packing,
    tokenizer: TextTokenizer,
    config: InstanceConfig,
    masks: np.random.Generator,
    counts: collections.Counter,
) -> Iterator[list[bytes]]:
    vocabulary, layout, is_continuation = tokenizer.vocabulary, config.layout, ~np.asarray(tokenizer.begins_word)
    for start in range(0, len(rows), _ROWS_PER_CALL):
        some = rows.take(np.arange(start, min(start + _ROWS_PER_CALL, len(rows))))
        features = assemble(
            pairs.take(some.instances),
            tokens,
            vocabulary=vocabulary,
            is_continuation=is_continuation,
            max_seq_length=config.max_seq_length,
        )
        maskable, begins_word = features.pop("maskable"), features.pop("begins_word")
        if layout.max_predictions_per_seq:
            features |= masking.mask_tokens(
                features["input_word_ids"],
                maskable,
                begins_word=begins_word,
                method=config.masking,
                vocabulary=vocabulary,
                masked_lm_prob=config.masked_lm_prob,
                max_predictions_per_seq=config.predictions,
                rng=masks,
            )
        _count(features, vocabulary, layout, counts)
        if config.packing:
            features = packing.pack_rows(features, np.diff(some.rows), layout, vocabulary["[PAD]"])
        _count_rows(features["input_mask"].sum(axis=1), config.max_seq_length, counts)
        yield records.encode(features, layout)


def _segments(
    pool: TokenPool, vocabulary: Vocabulary, config: InstanceConfig, rng: np.random.Generator
) -> tuple[np.ndarray, Pairs]:
    if config.pairs == "none":
        return sentence_pairs.full_sentences(pool, max_seq_length=config.max_seq_length, separator=vocabulary["[SEP]"])
    make = (
        sentence_pairs.next_sentence_pairs if config.pairs == "next_sentence" else sentence_pairs.sentence_order_pairs
    )
    return pool.tokens, make(pool, max_seq_length=config.max_seq_length, short_seq_prob=config.short_seq_prob, rng=rng)


def _documents_used(pool: TokenPool, pairs: Pairs, config: InstanceConfig) -> int:
    # Full sentences leave nothing out: their rows run on into the next documents.
    return len(pool.identities) if config.pairs == "none" else len(np.unique(pairs.document))


def _rows(pairs: Pairs, config: InstanceConfig, rng: np.random.Generator) -> packing.Packing:
    """Which instances make up each row: one each, unless they are packed."""
    if not config.packing:
        return packing.Packing(np.arange(len(pairs)), np.arange(len(pairs) + 1))
    lengths = pairs.lengths()
    layout = config.layout
    wanted = masking.wanted_predictions(lengths, config.masked_lm_prob, layout.max_predictions_per_seq)
    packed = packing.pack(lengths, wanted, layout)
    # The fullest rows come first out of packing.
    return packed.take(rng.permutation(len(packed)))


def _count(
    features: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    layout: records.RecordLayout,
    counts: collections.Counter,
) -> None:
    """Adds up what the summary tells of instances."""
    counts["instances"] += len(features["input_mask"])
    counts["instance_tokens"] += int(features["input_mask"].sum())
    if layout.has_pairs:
        counts["label_1"] += int(features["next_sentence_labels"].sum())
    if layout.max_predictions_per_seq:
        is_prediction = features["masked_lm_weights"] == 1
        now = np.take_along_axis(features["input_word_ids"], features["masked_lm_positions"], axis=1)[is_prediction]
        counts["predictions"] += len(now)
        counts["predictions_masked"] += int((now == vocabulary["[MASK]"]).sum())
        counts["predictions_kept"] += int((now == features["masked_lm_ids"][is_prediction]).sum())


def _count_rows(lengths: np.ndarray, max_seq_length: int, counts: collections.Counter) -> None:
    """Adds up rows, and rows by their length: tokens of each row, int [rows]."""
    counts["rows"] += len(lengths)
    bounds = np.unique(max_seq_length * np.arange(1, _LENGTHS + 1) // _LENGTHS)
    found = np.bincount(np.searchsorted(bounds, lengths), minlength=len(bounds))
    counts.update({f"{records.ROWS_UP_TO}{bound}": int(count) for bound, count in zip(bounds, found, strict=True)})


def _tokenize(
    documents: Iterable[tuple[bytes, str, Origin]], tokenizer: TextTokenizer, method: str, counts: collections.Counter
) -> tuple[TokenPool, list[Origin]]:
    """Splits into sentences and tokenizes many at a time; keeps documents that hold a token, and their origins.

    Texts go as soon as their tokens are there: a pool is never in memory twice.
    """
    # Sorting by key is the shuffle; backwards, since a list gives up its last elements cheaply.
    remaining = sorted(documents, key=operator.itemgetter(0), reverse=True)
    tokens, lengths, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], []
    identities: list[bytes] = []
    origins: list[Origin] = []
    sentences: list[str] = []

    def flush():
        ragged = tokenizer.tokenize(sentences)
        tokens.append(ragged.values.numpy())
        lengths.append(np.diff(ragged.row_splits.numpy()))
        sentences.clear()

    while remaining:
        _, text, origin = remaining.pop()
        parts = sentence_splitting.split_sentences(text, method)
        identities.append(document_id(text))
        origins.append(origin)
        sizes.append(len(parts))
        sentences += parts
        if len(sentences) >= _SENTENCES_PER_CALL:
            flush()
    if sentences:
        flush()
    length = np.concatenate(lengths)
    owner = np.repeat(np.arange(len(sizes)), sizes)[length > 0]
    length = length[length > 0]
    kept, per_document = np.unique(owner, return_counts=True)
    counts["passes_over_documents"] += len(sizes)
    counts["documents_without_token"] += len(sizes) - len(kept)
    counts["sentences"] += len(length)
    counts["tokens"] += int(length.sum())
    all_tokens = np.concatenate(tokens)
    counts["tokens_unknown"] += int((all_tokens == tokenizer.vocabulary[UNK]).sum())
    pool = TokenPool(
        tokens=all_tokens,
        sentences=np.concatenate([[0], np.cumsum(length)]),
        documents=np.concatenate([[0], np.cumsum(per_document)]),
        identities=[identities[index] for index in kept.tolist()],
        begins_word=np.asarray(tokenizer.begins_word)[all_tokens].tobytes(),
        continues=bytes(len(length)),
    )
    return pool, [origins[index] for index in kept.tolist()]


def assemble(
    pairs: Pairs,
    tokens: np.ndarray,
    *,
    vocabulary: Vocabulary,
    is_continuation: np.ndarray,
    max_seq_length: int,
) -> dict[str, np.ndarray]:
    """[CLS] A [SEP] B [SEP] for every pair, [CLS] A [SEP] if the second segment is empty.

    Returns:
      input_word_ids, input_mask, input_type_ids [rows, max_seq_length], next_sentence_labels [rows, 1], and bool
      [rows, max_seq_length]: maskable, where a word piece stands, and begins_word, where a word does.
    """
    position = np.arange(max_seq_length)
    first_sep = (pairs.first_end - pairs.first_start)[:, None] + 1
    last_sep = pairs.lengths()[:, None] - 1
    in_first = (position > 0) & (position < first_sep)
    in_second = (position > first_sep) & (position < last_sep)
    in_either = in_first | in_second
    source = np.where(in_second, pairs.second_start[:, None] - first_sep, pairs.first_start[:, None]) + position - 1
    # Places outside the segments are read and thrown away, which is faster than to leave them out.
    word_ids = np.where(in_either, tokens.take(source, mode="clip"), np.int32(vocabulary["[PAD]"]))
    # Text makes no special token: a [SEP] among the tokens stands between two documents of a row.
    maskable = in_either & (word_ids != vocabulary["[SEP]"])
    begins_word = maskable & ~is_continuation[word_ids]
    begins_word[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]  # a segment may begin inside a word
    word_ids[:, 0] = vocabulary["[CLS]"]
    for place in (first_sep, last_sep):
        np.put_along_axis(word_ids, place, vocabulary["[SEP]"], axis=1)
    return {
        "input_word_ids": word_ids,
        "input_mask": (position <= last_sep).astype(np.int32),
        "input_type_ids": ((position > first_sep) & (position <= last_sep)).astype(np.int32),
        "maskable": maskable,
        "begins_word": begins_word,
        "next_sentence_labels": pairs.label[:, None].astype(np.int32),
    }
