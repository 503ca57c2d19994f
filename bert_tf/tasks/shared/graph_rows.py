"""What the graphs of several signatures share: rows for the model, and pieces of texts."""

from collections.abc import Callable

import tensorflow as tf

from bert_tf.text.tokenizer import TextTokenizer
from bert_tf.text.vocabulary import CLS, PAD, SEP

# Rows of one text that are looked at: a text of megabytes must not hold a server for hours.
MAX_ROWS_OF_A_TEXT = 64
_ROWS_AT_ONCE = 32  # so that the rows of long texts need no more memory than a batch


def as_vector(texts: tf.Tensor) -> tf.Tensor:
    """Whatever a request holds -> string [n].

    Neither TF Serving nor a loaded signature checks the rank, and TF Text's kernels crash on a scalar. A reshape alone
    is optimized away, since the graph believes its input to be a vector: the placeholder hides that.
    """
    return tf.reshape(tf.raw_ops.PlaceholderWithDefault(input=texts, shape=None), [-1])


def at_least_one(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts [n], or lists of them [n, k], or an empty one where n is 0, which loops cannot handle; and n."""
    count = tf.shape(texts)[0]
    missing = tf.fill(tf.concat([tf.maximum(1 - count, 0)[None], tf.shape(texts)[1:]], axis=0), "")
    return tf.concat([texts, missing], axis=0), count


def framed(
    tokenizer: TextTokenizer,
    tokens: tf.Tensor,
    begins: tf.Tensor,
    lengths: tf.Tensor,
    first: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None,
    *,
    length: int | None = None,
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Stretches of tokens as the encoder's inputs, [CLS] first [SEP] stretch [SEP].

    Args:
      tokenizer: knows the special tokens.
      tokens: int32 [tokens], of which the stretches are taken.
      begins, lengths: of each row's stretch, int64 [rows].
      first: tokens, begins and lengths of a first segment with its [SEP]; None for none.
      length: of the rows; None for that of the longest.

    Returns:
      The inputs, int32 [rows, length]; of each position which of `tokens` it holds, int64 [rows, length], and whether
      it holds one, bool.
    """
    vocabulary = tokenizer.vocabulary
    before = tf.ones_like(lengths) if first is None else first[2] + 2  # special tokens and the first segment
    total = before + lengths + 1
    longest = tf.reduce_max(tf.concat([total, [2]], axis=0)) if length is None else tf.constant(length, tf.int64)
    position = tf.range(longest)[None, :]
    before, total = before[:, None], total[:, None]
    is_stretch = (position >= before) & (position < total - 1)
    index = tf.where(is_stretch, begins[:, None] + position - before, 0)
    ids = tf.where(is_stretch, _gathered(tokens, index), vocabulary[PAD])
    ids = tf.where(position == 0, vocabulary[CLS], ids)
    ids = tf.where((position == total - 1) | ((position == before - 1) & (position > 0)), vocabulary[SEP], ids)
    if first is not None:
        is_first = (position >= 1) & (position < before - 1)
        ids = tf.where(is_first, _gathered(first[0], tf.where(is_first, first[1][:, None] + position - 1, 0)), ids)
    mask = tf.cast(position < total, tf.int32)
    types = tf.zeros_like(mask) if first is None else mask * tf.cast(position >= before, tf.int32)
    rows = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}
    return rows, index, is_stretch


def _gathered(tokens: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    # One more, since there may be none at all.
    return tf.gather(tf.concat([tokens, [0]], axis=0), index)


def in_parts(
    call: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    rows: dict[str, tf.Tensor],
    shapes: dict[str, list],
) -> dict[str, tf.Tensor]:
    """What `call` gives for rows, in bounded memory: {name: float32 [rows, *shape]} for each of `shapes`."""
    count = tf.shape(rows["input_word_ids"])[0]
    parts = (count + _ROWS_AT_ONCE - 1) // _ROWS_AT_ONCE
    results = [
        tf.TensorArray(tf.float32, size=parts, infer_shape=False, element_shape=[None, *shape])
        for shape in shapes.values()
    ]

    def step(part, *results):
        begin = part * _ROWS_AT_ONCE
        found = call({name: x[begin : begin + _ROWS_AT_ONCE] for name, x in rows.items()})
        return part + 1, *(array.write(part, found[name]) for array, name in zip(results, shapes, strict=True))

    _, *results = tf.while_loop(lambda part, *_: part < parts, step, [0, *results], parallel_iterations=1)
    return {name: array.concat() for array, name in zip(results, shapes, strict=True)}


def pieces(texts: tf.Tensor, begins: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Bytes of texts as valid UTF-8: string [n], int64 [n, pieces] each -> string [n, pieces]."""

    # One text after the other: gathering a text for every piece would copy a long one as often.
    def of_one(row):
        text, begin, end = row
        return tf.strings.substr(text, begin, end - begin)

    found = tf.map_fn(of_one, (texts, begins, ends), fn_output_signature=tf.TensorSpec([None], tf.string))
    return tf.strings.unicode_transcode(found, "UTF-8", "UTF-8", errors="replace")
