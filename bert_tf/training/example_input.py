"""Examples that fit into memory -> batches, as a function of (seed, step), like shard_input."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf


def training_batches(
    features: dict[str, np.ndarray], start_step: int, *, global_batch_size: int, seed: int
) -> tf.data.Dataset:
    """Endless global batches; epoch e visits the examples in an order drawn from (seed, e).

    Args:
      features: arrays of equal first dimension.
      start_step: optimizer step of the first batch.
    """
    count = len(next(iter(features.values())))

    def batches() -> Iterator[dict[str, np.ndarray]]:
        epoch, order = -1, np.empty(0, np.int64)
        step = start_step
        while True:
            wanted = np.arange(step * global_batch_size, (step + 1) * global_batch_size)
            rows = np.empty_like(wanted)
            for needed in np.unique(wanted // count):
                if needed != epoch:
                    epoch, order = needed, np.random.default_rng([seed, needed]).permutation(count)
                inside = wanted // count == needed
                rows[inside] = order[wanted[inside] % count]
            yield {name: values[rows] for name, values in features.items()}
            step += 1

    return _dataset(batches, features, global_batch_size)


def validation_batches(features: dict[str, np.ndarray], *, global_batch_size: int) -> tf.data.Dataset:
    """All examples once, in order; the last batch is filled up with zeros, hence with rows of weight 0."""

    def batches() -> Iterator[dict[str, np.ndarray]]:
        count = len(next(iter(features.values())))
        for start in range(0, count, global_batch_size):
            batch = {}
            for name, values in features.items():
                rows = values[start : start + global_batch_size]
                missing = [(0, global_batch_size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
                batch[name] = np.pad(rows, missing)
            yield batch

    return _dataset(batches, features, global_batch_size)


def _dataset(batches, features: dict[str, np.ndarray], global_batch_size: int) -> tf.data.Dataset:
    signature = {
        name: tf.TensorSpec((global_batch_size, *values.shape[1:]), values.dtype) for name, values in features.items()
    }
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2).with_options(options)
