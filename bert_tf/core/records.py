"""What one pretraining record holds: names, shapes, encoding and parsing, in one place for pipeline and training.

A record is a serialized tf.train.Example with the feature names of tf-models:

  input_word_ids        int64 [max_seq_length]           [CLS] A [SEP] B [SEP], padded with 0
  input_mask            int64 [max_seq_length]           1 for tokens, 0 for padding
  input_type_ids        int64 [max_seq_length]           0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding
  masked_lm_positions   int64 [max_predictions_per_seq]  ascending, padded with 0
  masked_lm_ids         int64 [max_predictions_per_seq]  the original ids, padded with 0
  masked_lm_weights     float [max_predictions_per_seq]  1 for predictions, 0 for padding
  next_sentence_labels  int64 [1]                        1 = the second segment is a random one, or the two are swapped

A packed row holds several sequences, none of which sees another:

  position_ids             int64 [max_seq_length]         0, 1, ... in each sequence, padded with 0
  sequence_ids             int64 [max_seq_length]         1, 2, ... for its sequences, 0 for padding
  next_sentence_labels     int64 [max_sequences_per_row]  one for each sequence, padded with 0
  next_sentence_positions  int64 [max_sequences_per_row]  where the sequences begin, padded with 0
  next_sentence_weights    float [max_sequences_per_row]  1 for sequences, 0 for padding

Shards whose masks are drawn in training hold no masked_lm_ features, those without pairs no next_sentence_ ones.
Encoding needs NumPy only: neither the launcher of a pipeline nor a reader of shards has to load TensorFlow for it.
"""

import dataclasses
import functools
import math

import numpy as np

MANIFEST = "dataset.json"
COMPLETED = "COMPLETED"
JOB = "job.json"  # what dataset.json will say, while the job runs
PROGRESS = "progress"  # folder with what dataset.json will say of each finished shard, while the job runs
EXCHANGE = "exchange"  # folder with documents on their way to their shards, while the job runs
DEAD_LETTER = "dead_letter.jsonl"  # what could not be read of the input
VOCABULARY = "vocab.txt"
ROWS_UP_TO = "rows_up_to_"  # and a length in tokens: the counter, in dataset.json, of rows in the range that it ends
_ROWS_AT_ONCE = 1024  # the working memory is some 4 times the bytes of as many records


def usual_predictions(masked_lm_prob: float, max_seq_length: int) -> int:
    """Room for the masks of a full row, a multiple of 5 as in published recipes: 20 of 128 tokens, 80 of 512."""
    return min(max_seq_length, 5 * math.ceil(round(masked_lm_prob * max_seq_length, 6) / 5))


@functools.cache
def shard_name(split: str, index: int, count: int) -> str:
    """The name that TFDS expects of a shard: `pretrain-train.tfrecord-00000-of-00008`."""
    return f"pretrain-{split}.tfrecord-{index:05d}-of-{count:05d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordLayout:
    """The static shapes of a record.

    Attributes:
      max_seq_length: positions of a row.
      max_predictions_per_seq: masked positions of a row, at most; 0 = not masked yet.
      has_pairs: whether there are next-sentence labels.
      max_sequences_per_row: sequences of a packed row, at most; 0 = not packed.
    """

    max_seq_length: int
    max_predictions_per_seq: int
    has_pairs: bool = True
    max_sequences_per_row: int = 0

    @classmethod
    def of(cls, manifest: dict) -> "RecordLayout":
        """The layout of the shards that a dataset.json describes."""
        return cls(**manifest["layout"])

    @property
    def features(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> (shape, dtype as stored), in the order in which records are written."""
        positions, predictions = (self.max_seq_length,), (self.max_predictions_per_seq,)
        sequences = (self.max_sequences_per_row or 1,)
        found = dict.fromkeys(("input_mask", "input_type_ids", "input_word_ids"), (positions, "int64"))
        if self.max_predictions_per_seq:
            found |= dict.fromkeys(("masked_lm_ids", "masked_lm_positions"), (predictions, "int64"))
            found["masked_lm_weights"] = (predictions, "float32")
        if self.has_pairs:
            found["next_sentence_labels"] = (sequences, "int64")
        if self.max_sequences_per_row:
            found |= dict.fromkeys(("position_ids", "sequence_ids"), (positions, "int64"))
            if self.has_pairs:
                found["next_sentence_positions"] = (sequences, "int64")
                found["next_sentence_weights"] = (sequences, "float32")
        return dict(sorted(found.items()))


def encode(features: dict[str, np.ndarray], layout: RecordLayout) -> list[bytes]:
    """Serializes a batch of records, all rows at once.

    Written by hand because building tf.train.Example objects in Python is most of a pipeline's time, and because
    protobuf does not promise a stable order of map entries between versions, which byte-identical shards need.

    Args:
      features: every name of `layout.features`, each of shape [rows, ...].
      layout: the record's shapes.

    Returns:
      One serialized tf.train.Example per row.

    Raises:
      ValueError: a feature is missing or has another shape, or an id is negative or above 2^28.
    """
    rows = len(features["input_word_ids"])
    for name, (shape, _) in layout.features.items():
        if np.shape(features[name]) != (rows, *shape):
            raise ValueError(f"{name} must have shape {(rows, *shape)}. Received: {np.shape(features[name])}.")
    encoded = []
    for start in range(0, rows, _ROWS_AT_ONCE):
        encoded += _encode_rows(
            {name: values[start : start + _ROWS_AT_ONCE] for name, values in features.items()}, layout
        )
    return encoded


def _encode_rows(features: dict[str, np.ndarray], layout: RecordLayout) -> list[bytes]:
    rows = len(features["input_word_ids"])
    parts: list[_Bytes] = []
    for name, (_, dtype) in layout.features.items():
        values = np.asarray(features[name])
        key = b"\x0a" + bytes([len(name)]) + name.encode()  # field 1 of a map's entry
        # Inside out: Feature.float_list = 2 or int64_list = 3, each a message whose field 1 is the packed list.
        entry = [_floats(values) if dtype == "float32" else _varints(values)]
        for tag in (b"\x0a", b"\x12" if dtype == "float32" else b"\x1a", b"\x12"):
            entry = [_constant(rows, tag), _varints(_total(entry)[:, None]), *entry]
        entry = [_constant(rows, key), *entry]
        parts += [_constant(rows, b"\x0a"), _varints(_total(entry)[:, None]), *entry]
    return _rows([_constant(rows, b"\x0a"), _varints(_total(parts)[:, None]), *parts])


@dataclasses.dataclass
class _Bytes:
    """A byte string for every row: row i is `values[i][used[i]]`.

    Attributes:
      values: uint8 [rows, width].
      used: bool [rows, width].
      lengths: bytes of each row, int64 [rows]. Counted once, since counting is a good part of the work.
    """

    values: np.ndarray
    used: np.ndarray
    lengths: np.ndarray

    @classmethod
    def whole(cls, values: np.ndarray) -> "_Bytes":
        rows, width = values.shape
        return cls(values, np.ones((rows, width), bool), np.full(rows, width, np.int64))


def _total(parts: list[_Bytes]) -> np.ndarray:
    return np.sum([part.lengths for part in parts], axis=0)


def _rows(parts: list[_Bytes]) -> list[bytes]:
    values = np.concatenate([part.values for part in parts], axis=1)
    used = np.concatenate([part.used for part in parts], axis=1)
    flat = values[used].tobytes()
    ends = np.cumsum(_total(parts)).tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _constant(rows: int, data: bytes) -> _Bytes:
    return _Bytes.whole(np.broadcast_to(np.frombuffer(data, np.uint8), (rows, len(data))))


def _floats(values: np.ndarray) -> _Bytes:
    return _Bytes.whole(np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(len(values), -1))


def _varints(values: np.ndarray) -> _Bytes:
    """Base-128 varints of every row of a [rows, n] array of ids."""
    top = int(values.max(initial=0))
    if values.min(initial=0) < 0 or top >= 1 << 28:
        raise ValueError(f"ids must lie in [0, 2^28). Received: {values.min()} to {top}.")
    if top < 0x80:
        return _Bytes.whole(values.astype(np.uint8))
    width = -(-top.bit_length() // 7)
    values = values.astype(np.uint32)
    digits = np.empty((*values.shape, width), np.uint8)
    used = np.ones(digits.shape, bool)
    lengths = np.full(len(values), values.shape[1], np.int64)
    for place in range(width):
        more = values >= 1 << 7 * (place + 1)
        digits[..., place] = values >> np.uint32(7 * place) & 0x7F | more * np.uint32(0x80)
        if place + 1 < width:
            used[..., place + 1] = more
            lengths += np.bitwise_count(np.packbits(more, axis=1)).sum(axis=1, dtype=np.int64)
    return _Bytes(digits.reshape(len(values), -1), used.reshape(len(values), -1), lengths)


def parse(serialized, layout: RecordLayout):
    """Parses a batch of records: string tensor [batch] -> dict of int32 and float32 tensors [batch, ...]."""
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature(shape, dtype) for name, (shape, dtype) in layout.features.items()}
    parsed = tf.io.parse_example(serialized, spec)
    # int32 on the device: 64-bit integers are slow on TPU and nothing here needs them.
    return {name: tf.cast(x, tf.int32) if x.dtype == tf.int64 else x for name, x in parsed.items()}
