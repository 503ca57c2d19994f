"""Text to WordPiece ids as one TensorFlow graph, shared by the pipeline, the tasks and the SavedModels.

The rules are those of google-research/bert's tokenization.py (Devlin et al. 2018): clean, space out CJK, lower-case and
strip accents if uncased, split at white space and punctuation, greedy longest-match-first WordPiece. All of it is stock
TensorFlow and TF Text ops, so a SavedModel that holds a Tokenizer serves without Python.
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.vocabulary import UNK, Vocabulary

_SPACE = r"[\p{Zs}\t\n\r]"
_DROPPED = r"[\p{Cc}\p{Cf}\x{FFFD}]"
# The eight ranges of ideographs that the reference separates; Hangul and kana are not among them.
_CJK = (
    r"([\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{2F800}-\x{2FA1F}])"
)
_PUNCTUATION = r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}"


def normalize(texts: tf.Tensor, *, lower_case: bool) -> tf.Tensor:
    """Everything that happens before words are split: string [n] -> string [n]."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(texts, _SPACE, " ")
    texts = tf.strings.regex_replace(texts, _DROPPED, "")
    texts = tf.strings.regex_replace(texts, _CJK, r" \1 ")
    if lower_case:
        texts = tf.strings.lower(texts, encoding="utf-8")
        texts = tf_text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
    return texts


def split_words(texts: tf.Tensor, *, lower_case: bool) -> tf.RaggedTensor:
    """The words that WordPiece sees: string [n] -> ragged string [n, words]."""
    return tf_text.regex_split(
        normalize(texts, lower_case=lower_case),
        delim_regex_pattern=rf"\p{{Z}}|{_PUNCTUATION}",
        keep_delim_regex_pattern=_PUNCTUATION,
    )


class Tokenizer(tf.Module):
    """BERT's tokenizer.

    Args:
      vocab: a Vocabulary, or tokens in the order of their ids.
      lower_case: True for uncased models: lower-case and strip accents.

    Example:
      `Tokenizer(vocab=[...], lower_case=True).tokenize(["Hello, world"])` -> ragged int32 [1, tokens].
    """

    def __init__(self, vocab: Vocabulary | Sequence[str], *, lower_case: bool = True):
        super().__init__(name="tokenizer")
        self.vocabulary = vocab if isinstance(vocab, Vocabulary) else Vocabulary(tuple(vocab))
        self.lower_case = lower_case
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            list(self.vocabulary.tokens), unknown_token=UNK, token_out_type=tf.int32, no_pretokenization=False
        )
        self._graph = tf.function(self._tokenize, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._wordpiece.tokenize(normalize(texts, lower_case=self.lower_case))

    def tokenize(self, texts: Sequence[str] | tf.Tensor) -> tf.RaggedTensor:
        """string [n] -> ragged int32 [n, tokens], without special tokens."""
        return self._graph(tf.convert_to_tensor(texts, tf.string))

    def pack(self, texts: tf.Tensor, *, max_seq_length: int) -> dict[str, tf.Tensor]:
        """Single texts as the encoder's inputs: string [n] -> int32 [n, max_seq_length] each.

        A text is cut to max_seq_length - 2 tokens; [CLS] and [SEP] are added; padding is [PAD].

        Returns:
          input_word_ids, input_mask and input_type_ids.
        """
        ids = self.tokenize(texts)[:, : max_seq_length - 2]
        rows = tf.shape(texts)[0]
        ends = [tf.fill([rows, 1], self.vocabulary[token]) for token in ("[CLS]", "[SEP]")]
        ids = tf.concat([ends[0], ids, ends[1]], axis=1)
        shape = [None, max_seq_length]
        return {
            "input_word_ids": ids.to_tensor(self.vocabulary["[PAD]"], shape=shape),
            "input_mask": tf.ones_like(ids).to_tensor(shape=shape),
            "input_type_ids": tf.zeros([rows, max_seq_length], tf.int32),
        }
