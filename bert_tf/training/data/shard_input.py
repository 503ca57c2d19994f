"""Shards -> batches, as a function of (seed, batch): no iterator's state has to be saved or restored.

Epoch e visits the shards in an order drawn from (seed, e), and the examples of each in an order drawn from (seed, e,
shard). That sequence is cut into as many equal stretches as there are readers, and every batch takes as many rows from
each. So batch b begins at row b * rows of each reader's own endless sequence, and a restart opens the one shard that
holds it; a worker runs some of the readers, and the batches do not depend on how many workers there are.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.core import records
from bert_tf.core.config import PretrainConfig
from bert_tf.core.errors import InputError
from bert_tf.core.stores import objects
from bert_tf.training.data import dynamic_masking
from bert_tf.training.data.dynamic_masking import Masking
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.worker import Worker

# Of a reader: the one that is read, the one that waits for it, the one that is fetched; and one to be sure.
_SHARDS_IN_USE = 4


class Visit(NamedTuple):
    """A stretch of a shuffled shard."""

    shard: int
    epoch: int
    first: int  # row of the shuffled shard
    rows: int


class Order:
    """Which examples make up which batch, by arithmetic alone.

    Args:
      folder: its training split.
      global_batch_size: rows of a batch.
      seed: of all orders.
      readers: equal parts of a batch, each with a sequence of its own.

    Raises:
      InputError: the batch cannot be divided among the readers, or there are fewer examples than readers.
    """

    def __init__(self, folder: ShardFolder, *, global_batch_size: int, seed: int, readers: int = 1):
        if global_batch_size % readers:
            raise InputError(
                f"train.global_batch_size={global_batch_size}: expected a multiple of data.readers={readers}."
            )
        self.shards = folder.split("train")
        self._path, self._seed = folder.path, seed
        self._examples = np.array([shard["examples"] for shard in self.shards], np.int64)
        self._stretch = int(self._examples.sum()) // readers  # rows of a reader in an epoch
        self.rows = global_batch_size // readers  # of a reader in a batch
        if not self._stretch:
            received = "none" if not self.shards else f"fewer than data.readers={readers}"
            raise InputError(f"data.train={folder.path}: expected training examples. Received {received}.")

    def visits(self, reader: int, first_batch: int) -> Iterator[Visit]:
        """What a reader reads from a batch on, without end."""
        epoch, begin = divmod(first_batch * self.rows, self._stretch)
        while True:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self.shards))
            ends = np.cumsum(self._examples[order])
            position, end = reader * self._stretch + begin, (reader + 1) * self._stretch
            for place in range(np.searchsorted(ends, position, "right"), len(order)):
                if position >= end:
                    break
                shard = int(order[place])
                first = position - (int(ends[place]) - int(self._examples[shard]))
                rows = min(int(ends[place]), end) - position
                yield Visit(shard, epoch, first, rows)
                position += rows
            epoch, begin = epoch + 1, 0

    def shuffle_seed(self, visit: Visit) -> np.ndarray:
        """int32 [2]: seed of the order of a shard's examples in an epoch."""
        rng = np.random.default_rng([self._seed, visit.epoch, visit.shard])
        return rng.integers(2**31, size=2).astype(np.int32)

    def path(self, visit: Visit) -> str:
        return objects.join(self._path, self.shards[visit.shard]["name"])

    def paths_of(self, first_batch: int, count: int, readers: range) -> list[str]:
        """The shards that hold some batches."""
        found: dict[str, None] = {}
        for reader in readers:
            left = count * self.rows
            for visit in self.visits(reader, first_batch):
                found[self.path(visit)] = None
                left -= visit.rows
                if left <= 0:
                    break
        return list(found)


def readers_of(worker: Worker, readers: int) -> range:
    """The readers that a worker runs.

    Raises:
      InputError: they cannot be divided among the workers.
    """
    each, uneven = divmod(readers, worker.count)
    if uneven:
        raise InputError(
            f"data.readers={readers}: expected a multiple of the number of workers, {worker.count}. The batches depend "
            "on it, so give the same to all runs that shall compute the same steps."
        )
    return range(worker.index * each, (worker.index + 1) * each)


def training_batches(
    folder: ShardFolder,
    first_batch: int,
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
    seed: int,
    readers: int = 1,
    masking: Masking | None = None,
) -> tf.data.Dataset:
    """A worker's part of the endless stream of global batches, from batch `first_batch` on.

    Args:
      masking: how to mask shards that were made with --masking=none.
    """
    order = Order(folder, global_batch_size=global_batch_size, seed=seed, readers=readers)
    ours = readers_of(worker, readers)
    folder.pin(_SHARDS_IN_USE * len(ours))
    streams = [_stream(folder, order, reader, first_batch) for reader in ours]
    dataset = tf.data.Dataset.zip((tf.data.Dataset.counter(first_batch), *streams))

    def parse(number, *rows):
        batch = records.parse(tf.concat(rows, axis=0), folder.layout)
        if not folder.layout.max_predictions_per_seq:
            batch = dynamic_masking.mask(batch, masking, seed=[seed, 1], number=number, parts=ours)
        return _with_weights(batch, folder.layout)

    return _finished(dataset.map(parse, num_parallel_calls=2))


def _stream(folder: ShardFolder, order: Order, reader: int, first_batch: int) -> tf.data.Dataset:
    """A reader's serialized rows, string [rows] a batch."""
    most = max(shard["examples"] for shard in order.shards)

    def visits() -> Iterator[tuple]:
        for visit, following in itertools.pairwise(order.visits(reader, first_batch)):
            path = folder.local(order.path(visit), ahead=order.path(following))
            yield path, order.shuffle_seed(visit), visit.first, visit.rows

    def read(path, shuffle_seed, first, rows):
        serialized = folder.records(path).batch(most).get_single_element()
        keys = tf.random.stateless_uniform(tf.shape(serialized), shuffle_seed, None, None, tf.int32)
        return tf.gather(serialized, tf.argsort(keys, stable=True)[first : first + rows])

    signature = (
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(visits, output_signature=signature)
    return dataset.map(read).prefetch(1).rebatch(order.rows, drop_remainder=True)


def validation_batches(
    folder: ShardFolder,
    field: str,
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
    examples: int | None,
    seed: int = 0,
    masking: Masking | None = None,
) -> tf.data.Dataset:
    """The validation split in order, at most `examples`; the last batch is filled up with rows of weight 0.

    Masks that are drawn here are the same each time.
    """
    shards = folder.split("validation")
    if not shards:
        raise InputError(f"{field}={folder.path}: expected validation examples. Received none.")
    count = sum(shard["examples"] for shard in shards)
    count = count if examples is None else min(count, examples)
    dataset = folder.in_sequence("validation").take(count)
    blank = _blank_record(folder.layout)
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors(blank).repeat(-count % global_batch_size))
    rows = global_batch_size // worker.count

    def parse(number, serialized):
        batch = records.parse(serialized, folder.layout)
        if not folder.layout.max_predictions_per_seq:
            batch = dynamic_masking.mask(batch, masking, seed=[seed, 2], number=number, parts=range(1))
        batch = _with_weights(batch, folder.layout)
        return {name: x[worker.index * rows : (worker.index + 1) * rows] for name, x in batch.items()}

    dataset = tf.data.Dataset.zip((tf.data.Dataset.counter(), dataset.batch(global_batch_size, drop_remainder=True)))
    return _finished(dataset.map(parse, num_parallel_calls=2))


def validation_of(config: PretrainConfig, folder: ShardFolder, field: str) -> Callable[[Worker], tf.data.Dataset]:
    """worker -> the validation batches of a pretraining run, whose config's `field` names the folder."""
    return functools.partial(
        validation_batches,
        folder,
        field,
        global_batch_size=config.train.global_batch_size,
        examples=config.train.evaluate_examples,
        seed=config.train.seed,
        masking=masking_of(config, folder),
    )


def masking_of(config: PretrainConfig, folder: ShardFolder) -> Masking:
    """How a run masks rows of shards that have no masks; the config's lengths are settled."""
    return Masking(folder.vocabulary, config.data.masked_lm_prob, config.data.max_predictions_per_seq or 0)


def _with_weights(batch: dict[str, tf.Tensor], layout: records.RecordLayout) -> dict[str, tf.Tensor]:
    # A blank row has no token at all; every real one has at least [CLS]. Packed rows bring their weights.
    if layout.has_pairs and not layout.max_sequences_per_row:
        batch["next_sentence_weights"] = tf.cast(batch["input_mask"][:, :1], tf.float32)
    return batch


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(2).with_options(options)


def _blank_record(layout: records.RecordLayout) -> bytes:
    zeros = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in layout.features.items()}
    return records.encode(zeros, layout)[0]
