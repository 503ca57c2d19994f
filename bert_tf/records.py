"""What one pretraining record holds: names, shapes, encoding and parsing, in one place for pipeline and training.

A record is a serialized tf.train.Example with the feature names of tf-models:

  input_word_ids        int64 [max_seq_length]           [CLS] A [SEP] B [SEP], padded with 0
  input_mask            int64 [max_seq_length]           1 for tokens, 0 for padding
  input_type_ids        int64 [max_seq_length]           0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding
  masked_lm_positions   int64 [max_predictions_per_seq]  ascending, padded with 0
  masked_lm_ids         int64 [max_predictions_per_seq]  the original ids, padded with 0
  masked_lm_weights     float [max_predictions_per_seq]  1 for predictions, 0 for padding
  next_sentence_labels  int64 [1]                        1 = the second segment is a random one

Encoding needs NumPy only: neither the launcher of a pipeline nor a reader of shards has to load TensorFlow for it.
"""

import dataclasses

import numpy as np

MANIFEST = "dataset.json"
COMPLETED = "COMPLETED"
JOB = "job.json"  # what dataset.json will say, while the job runs
VOCABULARY = "vocab.txt"
_ROWS_AT_ONCE = 1024  # the digits of a row take some 16 times its records' bytes


def shard_name(split: str, index: int, count: int) -> str:
    """The name that TFDS expects of a shard: `pretrain-train.tfrecord-00000-of-00008`."""
    return f"pretrain-{split}.tfrecord-{index:05d}-of-{count:05d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordLayout:
    """The static shapes of a record."""

    max_seq_length: int
    max_predictions_per_seq: int

    @property
    def features(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> (shape, dtype as stored), in the order in which records are written."""
        positions, predictions = (self.max_seq_length,), (self.max_predictions_per_seq,)
        return {
            "input_mask": (positions, "int64"),
            "input_type_ids": (positions, "int64"),
            "input_word_ids": (positions, "int64"),
            "masked_lm_ids": (predictions, "int64"),
            "masked_lm_positions": (predictions, "int64"),
            "masked_lm_weights": (predictions, "float32"),
            "next_sentence_labels": ((1,), "int64"),
        }


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
    columns = []
    for name, (_, dtype) in layout.features.items():
        values = np.asarray(features[name])
        payloads = _packed_floats(values) if dtype == "float32" else _packed_varints(values)
        field = b"\x12" if dtype == "float32" else b"\x1a"  # Feature.float_list = 2, Feature.int64_list = 3
        key = _field(b"\x0a", name.encode())
        columns.append([_field(b"\x0a", key + _field(b"\x12", _field(field, _field(b"\x0a", p)))) for p in payloads])
    return [_field(b"\x0a", b"".join(row)) for row in zip(*columns, strict=True)]


def parse(serialized, layout: RecordLayout):
    """Parses a batch of records: string tensor [batch] -> dict of int32 and float32 tensors [batch, ...]."""
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature(shape, dtype) for name, (shape, dtype) in layout.features.items()}
    parsed = tf.io.parse_example(serialized, spec)
    # int32 on the device: 64-bit integers are slow on TPU and nothing here needs them.
    return {name: tf.cast(x, tf.int32) if x.dtype == tf.int64 else x for name, x in parsed.items()}


def _field(tag: bytes, payload: bytes) -> bytes:
    """One length-delimited protobuf field."""
    length, prefix = len(payload), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return tag + bytes(prefix) + payload


def _packed_floats(values: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(values, "<f4")]


def _packed_varints(values: np.ndarray) -> list[bytes]:
    """Base-128 varints of every row of a [rows, n] array of ids."""
    if values.size and (values.min() < 0 or values.max() >= 1 << 28):
        raise ValueError(f"ids must lie in [0, 2^28). Received: {values.min()} to {values.max()}.")
    values = values.astype(np.uint32)
    groups = np.arange(4, dtype=np.uint32) * 7
    sizes = 1 + sum((values >> shift > 0).astype(np.int64) for shift in (7, 14, 21))  # bytes per value
    digits = (values[..., None] >> groups) & 0x7F
    digits |= np.where(np.arange(4) < sizes[..., None] - 1, 0x80, 0).astype(np.uint32)
    used = np.arange(4) < sizes[..., None]
    flat = digits.astype(np.uint8)[used].tobytes()
    ends = np.cumsum(sizes.sum(axis=1))
    return [flat[end - size : end] for end, size in zip(ends, sizes.sum(axis=1), strict=True)]
