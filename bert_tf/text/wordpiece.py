"""Text to WordPiece ids and back as one TensorFlow graph, shared by the pipeline, the tasks and the SavedModels.

The rules are those of google-research/bert's tokenization.py (Devlin et al. 2018): clean, space out CJK, lower-case and
strip accents if uncased, split at white space and punctuation, greedy longest-match-first WordPiece. All of it is stock
TensorFlow and TF Text ops that TF Serving has had since 2.14, so a SavedModel that holds a Tokenizer needs no Python.
"""

import unicodedata
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.core.errors import require
from bert_tf.text import offsets, words
from bert_tf.text import segments as segments_lib
from bert_tf.text.literals import literals_of
from bert_tf.text.normalizer import GOOGLE, HUGGINGFACE, Normalizer, NormalizerConfig, as_normalized
from bert_tf.text.vocabulary import CLS, PAD, SEP, UNK, Vocabulary

_SUFFIX = "##"
_MAX_TOKEN_BYTES = 256  # of TF Text's kernel


class Tokenizer(tf.Module):
    """BERT's tokenizer.

    Args:
      vocab: a Vocabulary, or tokens in the order of their ids.
      lower_case: True for uncased models.
      strip_accents: decompose (NFD) and remove non-spacing marks; None does what `lower_case` says, as BERT does.
      max_word_length: characters, after normalization, above which a word is one [UNK]. transformers has 100, and
        released models are used with it; google-research/bert has 200.
      split_cjk: every Chinese ideograph is a word. False is slower.
      rules: where transformers differs from google-research/bert. "google": a final sigma is lower-cased to "ς",
        private-use characters are kept, U+2B820 to U+2B91F are ideographs, and of an odd number of tokens that two
        long segments share the first gets one more. "huggingface": "σ", dropped, not, and the longer or second.
      keep_special_tokens: False treats "[SEP]" in a text like any text, so that no text can forge a special token.
        True makes the strings [PAD], [UNK], [CLS], [SEP] and [MASK] the tokens that they name, for fill-mask.

    Added tokens of the vocabulary are tokens wherever they stand, also inside a word, by the rules of transformers.

    Text is UTF-8. Bytes that are not, NUL, control characters and U+FFFD are dropped. Once it has been called it cannot
    be copied or pickled: a Beam DoFn makes its own in `setup`.

    Raises:
      InputError: an option out of range, or a token of more than 256 bytes, which TF Text's kernel cannot hold.

    Example:
      `Tokenizer(vocab=[...], lower_case=True).tokenize(["Hello, world"])` -> ragged int32 [1, tokens].
    """

    def __init__(
        self,
        vocab: Vocabulary | Sequence[str],
        *,
        lower_case: bool = True,
        strip_accents: bool | None = None,
        max_word_length: int = 100,
        split_cjk: bool = True,
        rules: str = GOOGLE,
        keep_special_tokens: bool = False,
    ):
        super().__init__(name="tokenizer")
        require(1 <= max_word_length <= 10_000, "max_word_length must be 1 to 10000 characters", max_word_length)
        self.vocabulary = vocab if isinstance(vocab, Vocabulary) else Vocabulary(tuple(vocab))
        self.lower_case = lower_case
        self.strip_accents = lower_case if strip_accents is None else strip_accents
        self.max_word_length = max_word_length
        self.split_cjk = split_cjk
        self.rules = rules
        self.keep_special_tokens = keep_special_tokens

        self._normalizer = Normalizer(NormalizerConfig(lower_case, self.strip_accents, rules))
        tokens = [self._as_seen(index, piece) for index, piece in enumerate(self.vocabulary.pieces)]
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            tokens,
            suffix_indicator=_SUFFIX,
            # The kernel counts bytes: this bounds its work, _shorten_long_words then counts characters.
            max_bytes_per_word=4 * max_word_length,
            token_out_type=tf.int32,
            unknown_token=UNK,
            no_pretokenization=not split_cjk,
        )
        self._literals, self._normalized_literals = literals_of(
            self.vocabulary,
            self._normalizer,
            with_special_tokens=keep_special_tokens,
            # Where ideographs are words, Hugging Face puts spaces around them first.
            not_word=words.CJK if split_cjk else "",
        )
        # Added tokens never begin with the mark of a suffix.
        self.begins_word = tf.constant([not token.startswith(_SUFFIX) for token in self.vocabulary.tokens])
        self._lengths = tf.constant([0 if token == UNK else len(token.removeprefix(_SUFFIX)) for token in tokens])
        # One look finds all texts that take more than the fast way.
        self._ordinary = words.ordinary(self._normalizer, max_word_length=max_word_length, split_cjk=split_cjk)

        texts = tf.TensorSpec([None], tf.string)
        self._graph = tf.function(
            lambda texts: self._tokenize(texts, with_offsets=False)[0], input_signature=[texts], autograph=False
        )
        self._graph_with_offsets = tf.function(
            lambda texts: self._tokenize(texts, with_offsets=True), input_signature=[texts], autograph=False
        )

    def tokenize(self, texts: Sequence[str] | tf.Tensor) -> tf.RaggedTensor:
        """string [n] -> ragged int32 [n, tokens], without special tokens."""
        return self._graph(_as_rows(texts))

    def tokenize_with_offsets(
        self, texts: Sequence[str] | tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Tokens and the bytes of the text that each came from.

        A token's slice `text[start:end]` holds all of its characters and what was dropped after them (the accents of
        "é", for one). Pieces of a character that decomposes, such as a Hangul syllable, have the slice of all of it.

        Returns:
          ids int32, starts int64 and ends int64, each ragged [n, tokens].
        """
        return self._graph_with_offsets(_as_rows(texts))

    def detokenize(self, ids: Sequence[Sequence[int]] | tf.RaggedTensor, *, skip_special_tokens=True) -> tf.Tensor:
        """Ids [n, tokens], ragged or dense -> string [n]: words joined by spaces, "##" pieces joined to their word.

        skip_special_tokens leaves out what `pack` adds: [CLS], [SEP] and [PAD].
        """
        if not isinstance(ids, (tf.RaggedTensor, tf.Tensor)):
            require(all(isinstance(row, Sequence) for row in ids), "ids must be a list of lists", ids)
            ids = tf.ragged.constant(ids, dtype=tf.int32, ragged_rank=1)
        require(ids.shape.rank == 2, "ids must be [n, tokens]", f"rank {ids.shape.rank}")
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        if tf.executing_eagerly():
            ends = [int(f(ids.values)) for f in (tf.reduce_min, tf.reduce_max)] if tf.size(ids.values) else [0, 0]
            top = len(self.vocabulary) - 1
            require(0 <= ends[0] <= ends[1] <= top, f"ids must lie in 0 to {top}", f"{ends[0]} to {ends[1]}")
        if skip_special_tokens:
            skipped = tf.constant([self.vocabulary[token] for token in (CLS, SEP, PAD)], ids.dtype)
            kept = tf.reduce_all(ids.values[:, None] != skipped, axis=1)
            ids = tf.ragged.boolean_mask(ids, ids.with_values(kept))
        pieces = ids.with_values(tf.gather(tf.constant(self.vocabulary.tokens), ids.values))
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1, separator=" "), " ##", "")

    def pack(
        self,
        *segments: Sequence[str] | tf.Tensor,
        max_seq_length: int,
        truncation: str = segments_lib.LONGEST_FIRST,
        segment_lengths: Sequence[int | None] | None = None,
        fixed_length: bool = True,
        with_offsets: bool = False,
        with_counts: bool = False,
        tail_share: float = 0.0,
    ) -> dict[str, tf.Tensor]:
        """Texts as the encoder's inputs: [CLS] first [SEP] second [SEP] ..., padded with [PAD].

        Args:
          *segments: string [n] each; one for single texts, two for pairs.
          max_seq_length: most tokens in a row, special tokens included.
          truncation: which segment gives way, see bert_tf.text.segments.kept_lengths: "longest_first", "only_first" or
            "only_second".
          segment_lengths: most tokens of each segment, None for no limit; applied before `truncation`.
          fixed_length: rows of max_seq_length tokens; otherwise as long as the longest row of the batch.
          with_offsets: also token_starts and token_ends, in bytes of the token's segment; 0 for special tokens.
          with_counts: also token_counts int32 [n], the tokens that a row would have had if it were not truncated.
          tail_share: of the tokens that are kept of a truncated segment, the share that is taken from its end.

        Returns:
          input_word_ids, input_mask and input_type_ids (0 for the first segment, 1 for the others), int32 [n, length].
        """
        count = len(segments)
        require(count >= 1, "pack needs at least one segment", count)
        require(
            truncation in segments_lib.TRUNCATIONS,
            f"truncation must be one of {', '.join(segments_lib.TRUNCATIONS)}",
            truncation,
        )
        require(
            truncation != segments_lib.ONLY_SECOND or count > 1, f"truncation={truncation} needs two segments", count
        )
        require(max_seq_length > count, f"max_seq_length must hold {count + 1} special tokens", max_seq_length)
        limits = [None] * count if segment_lengths is None else list(segment_lengths)
        require(
            len(limits) == count and all(limit is None or limit >= 0 for limit in limits),
            f"segment_lengths must give one length, or None, for each of {count} segments",
            limits,
        )
        segments = [_as_rows(texts) for texts in segments]
        rows = {texts.shape[0] for texts in segments} - {None}
        require(len(rows) <= 1, "segments must hold as many texts each", " and ".join(map(str, sorted(rows))))

        if with_offsets:
            columns = [list(self.tokenize_with_offsets(texts)) for texts in segments]
        else:
            columns = [[self.tokenize(texts)] for texts in segments]
        lengths = [column[0].row_lengths() for column in columns]
        whole = tf.cast(tf.add_n(lengths) + count + 1, tf.int32)
        lengths = [n if limit is None else tf.minimum(n, limit) for n, limit in zip(lengths, limits, strict=True)]
        kept = segments_lib.kept_lengths(
            tf.stack(lengths, axis=1),
            max_seq_length - count - 1,
            truncation,
            odd_to_longest=self.rules == HUGGINGFACE,
        )
        columns = [
            [segments_lib.cut(part, kept[:, i], tail_share) for part in column] for i, column in enumerate(columns)
        ]

        ids = segments_lib.join(
            [column[0] for column in columns], first=self.vocabulary[CLS], last=self.vocabulary[SEP]
        )
        # [CLS] and the first segment with its [SEP] are of type 0, all that follows is of type 1.
        position = tf.ragged.range(ids.row_lengths())
        types = tf.cast(position.flat_values >= tf.gather(kept[:, 0] + 2, segments_lib.rows_of(position)), tf.int32)
        features = {
            "input_word_ids": (ids, self.vocabulary[PAD]),
            "input_mask": (tf.ones_like(ids), 0),
            "input_type_ids": (ids.with_values(types), 0),
        }
        if with_offsets:
            for i, name in enumerate(("token_starts", "token_ends"), start=1):
                bounds = segments_lib.join([column[i] for column in columns], first=0, last=0)
                features[name] = (tf.cast(bounds, tf.int32), 0)
        shape = [None, max_seq_length if fixed_length else None]
        packed = {name: ragged.to_tensor(padding, shape=shape) for name, (ragged, padding) in features.items()}
        return packed | ({"token_counts": whole} if with_counts else {})

    def _as_seen(self, index: int, token: str) -> str:
        """A token as the kernel should see it: one that no word can hold as something that it never finds.

        The kernel matches tokens with white space in them across words, and cannot build its trie with some controls.
        """
        if token == UNK:
            return token
        piece = token.removeprefix(_SUFFIX)
        impossible = ("Cc", "Co") if self.rules == HUGGINGFACE else ("Cc",)
        if len(piece) > self.max_word_length or any(
            c.isspace() or unicodedata.category(c) in impossible for c in piece
        ):
            return f"[unreachable-{index}]"
        require(
            len(piece.encode()) <= _MAX_TOKEN_BYTES,
            f"{self.vocabulary.source}: expected tokens of at most {_MAX_TOKEN_BYTES} bytes",
            f"{token[:20]!r}... with {len(piece.encode())}",
        )
        return as_normalized(token, self.rules)

    def _tokenize(self, texts: tf.Tensor, *, with_offsets: bool) -> list[tf.RaggedTensor]:
        """ids, or ids, starts and ends, ragged [n, tokens]."""
        if self._literals is None:
            return self._tokenize_plain(texts, with_offsets=with_offsets)
        # The kernel that splits stops at NUL; another control character is dropped just as well.
        texts = tf.strings.regex_replace(texts, r"\x00", "\x01")
        return self._literals.around(texts, lambda plain: self._tokenize_plain(plain, with_offsets=with_offsets))

    def _tokenize_plain(self, texts: tf.Tensor, *, with_offsets: bool) -> list[tf.RaggedTensor]:
        """The same of texts without literals, but for those of the normalized text."""
        rows = tf.where(~tf.strings.regex_full_match(texts, self._ordinary))[:, 0]
        # Most of them only have a word that is long for prose, and need no preparation.
        rare = tf.gather(rows, self._normalizer.find_rare(tf.gather(texts, rows)))
        normalized = self._normalizer.normalize(texts, rare)
        has_long_words = tf.cond(
            tf.size(rows) > 0,
            lambda: words.longest(tf.gather(normalized, rows), split_cjk=self.split_cjk) > self.max_word_length,
            lambda: False,
        )

        def pieces(plain: tf.Tensor) -> list[tf.RaggedTensor]:
            return self._pieces(plain, has_long_words, with_offsets=with_offsets)

        literals = self._normalized_literals
        parts = pieces(normalized) if literals is None else literals.around(normalized, pieces)
        if with_offsets:
            parts[1:] = offsets.in_source(
                *parts[1:], texts=texts, normalized=normalized, normalizer=self._normalizer, prepared=rare
            )
        return parts

    def _pieces(self, normalized: tf.Tensor, has_long_words: tf.Tensor, *, with_offsets: bool) -> list:
        """The same of normalized texts without literals; offsets are in these."""
        if self.split_cjk:
            ids, starts, ends = self._wordpiece.tokenize_with_offsets(normalized)
        else:
            split, begins, _ = words.split(normalized, split_cjk=False)
            ids, starts, ends = (
                split.with_values(part) for part in self._wordpiece.tokenize_with_offsets(split.values)
            )
            begins = tf.gather(begins.values, segments_lib.rows_of(ids.values))
            starts, ends = (part.with_flat_values(part.flat_values + begins) for part in (starts, ends))
            ids, starts, ends = (part.merge_dims(1, 2) for part in (ids, starts, ends))
        parts = [ids, starts, ends] if with_offsets else [ids]
        flat = tf.cond(
            has_long_words,
            lambda: self._shorten_long_words(parts),
            lambda: [ids.row_splits, *(part.values for part in parts)],
        )
        return [tf.RaggedTensor.from_row_splits(values, flat[0], validate=False) for values in flat[1:]]

    def _shorten_long_words(self, parts: list[tf.RaggedTensor]) -> list[tf.Tensor]:
        """Makes words of more than max_word_length characters one [UNK]: parts -> row splits and flat parts."""
        ids, *bounds = parts
        begins = tf.gather(self.begins_word, ids.values)
        word = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        lengths = tf.math.segment_sum(tf.gather(self._lengths, ids.values), word)
        is_long = tf.gather(lengths > self.max_word_length, word)
        kept = begins | ~is_long
        values = [tf.where(is_long, self.vocabulary[UNK], ids.values)]
        if bounds:
            starts, ends = (part.values for part in bounds)
            last = tf.gather(tf.math.segment_max(ends, word), word)
            values += [starts, tf.where(is_long, last, ends)]
        counts = tf.concat([[0], tf.cumsum(tf.cast(kept, tf.int64))], axis=0)
        return [tf.gather(counts, ids.row_splits), *(tf.boolean_mask(part, kept) for part in values)]


def _as_rows(texts: Sequence[str] | tf.Tensor) -> tf.Tensor:
    texts = tf.convert_to_tensor(texts, tf.string)
    require(texts.shape.rank in (1, None), "texts must be a list or a vector of strings", f"rank {texts.shape.rank}")
    return texts
