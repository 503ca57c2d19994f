"""Examples that fit into memory -> batches, as a function of (seed, batch), like shard_input."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from bert_tf.training.worker import Worker


def training_batches(
    features: dict[str, np.ndarray],
    first_batch: int,
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
    seed: int,
) -> tf.data.Dataset:
    """A worker's part of endless global batches; epoch e visits the examples in an order drawn from (seed, e).

    Args:
      features: arrays of equal first dimension.
      first_batch: where to begin.
    """
    count = len(next(iter(features.values())))

    def batches() -> Iterator[dict[str, np.ndarray]]:
        epoch, order = -1, np.empty(0, np.int64)
        number = first_batch
        rows_here = global_batch_size // worker.count
        while True:
            begin = number * global_batch_size + worker.index * rows_here
            wanted = np.arange(begin, begin + rows_here)
            rows = np.empty_like(wanted)
            for needed in np.unique(wanted // count):
                if needed != epoch:
                    epoch, order = needed, np.random.default_rng([seed, needed]).permutation(count)
                inside = wanted // count == needed
                rows[inside] = order[wanted[inside] % count]
            yield {name: values[rows] for name, values in features.items()}
            number += 1

    return _dataset(batches, features, global_batch_size // worker.count)


def validation_batches(
    features: dict[str, np.ndarray],
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
) -> tf.data.Dataset:
    """All examples once, in order; the last batch is filled up with zeros, hence with rows of weight 0."""
    rows_here = global_batch_size // worker.count

    def batches() -> Iterator[dict[str, np.ndarray]]:
        count = len(next(iter(features.values())))
        for start in range(0, count, global_batch_size):
            batch = {}
            for name, values in features.items():
                begin = start + worker.index * rows_here
                rows = values[begin : begin + rows_here]
                missing = [(0, rows_here - len(rows))] + [(0, 0)] * (rows.ndim - 1)
                batch[name] = np.pad(rows, missing)
            yield batch

    return _dataset(batches, features, rows_here)


def _dataset(batches, features: dict[str, np.ndarray], rows: int) -> tf.data.Dataset:
    signature = {name: tf.TensorSpec((rows, *values.shape[1:]), values.dtype) for name, values in features.items()}
    options = tf.data.Options()
    options.deterministic = True
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2).with_options(options)
