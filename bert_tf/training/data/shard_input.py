"""Shards -> batches, as a function of (seed, batch): no iterator's state has to be saved or restored.

core/data_order.py says which rows of which shards make up a batch. A restart opens the shards that hold its first rows.
A worker runs some of the readers, and the batches do not depend on how many workers there are.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from bert_tf.core import records
from bert_tf.core.config import PretrainConfig
from bert_tf.core.data_order import Mixture, Order, shares
from bert_tf.core.errors import InputError
from bert_tf.training.data import dynamic_masking
from bert_tf.training.data.dynamic_masking import Masking
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.worker import Worker

# Of a reader: the one that is read, the one that waits for it, the one that is fetched; and one to be sure.
_SHARDS_IN_USE = 4


def mixture_of(folders: Sequence[ShardFolder], **settings) -> Mixture:
    """The order of the folders' training rows; for `settings` see Mixture."""
    return Mixture([(folder.path, folder.split("train")) for folder in folders], **settings)


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
    folders: Sequence[ShardFolder],
    first_batch: int,
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
    seed: int,
    weights: Sequence[float] = (),
    readers: int = 1,
    masking: Masking | None = None,
) -> tf.data.Dataset:
    """A worker's part of the endless stream of global batches, from batch `first_batch` on.

    Args:
      folders: of one layout and vocabulary.
      weights: shares of the folders in a batch; () = by their numbers of examples.
      masking: how to mask shards that were made with --masking=none.
    """
    mixture = mixture_of(folders, global_batch_size=global_batch_size, seed=seed, weights=weights, readers=readers)
    ours, layout = readers_of(worker, readers), folders[0].layout
    for folder in folders:
        folder.pin(_SHARDS_IN_USE * len(ours) * len(folders))
    streams = [_stream(folders, mixture, reader, first_batch) for reader in ours]
    dataset = tf.data.Dataset.zip((tf.data.Dataset.counter(first_batch), *streams))

    def parse(number, *rows):
        batch = records.parse(tf.concat(rows, axis=0), layout)
        if not layout.max_predictions_per_seq:
            batch = dynamic_masking.mask(batch, masking, seed=[seed, 1], number=number, parts=ours)
        return _with_weights(batch, layout)

    return _finished(dataset.map(parse, num_parallel_calls=2))


def _stream(folders: Sequence[ShardFolder], mixture: Mixture, reader: int, first_batch: int) -> tf.data.Dataset:
    """A reader's serialized rows, string [rows] a batch: those of the first folder, then of the second, ..."""
    begins = mixture.begins(first_batch)
    sources = [
        _source(folder, order, reader, begin)
        for folder, order, begin in zip(folders, mixture.orders, begins, strict=True)
    ]
    if len(sources) == 1:
        return sources[0].rebatch(mixture.rows, drop_remainder=True)

    def choices() -> Iterator[np.ndarray]:
        batch = first_batch
        while True:
            yield np.repeat(np.arange(len(sources)), mixture.counts(batch))
            batch += 1

    chosen = tf.data.Dataset.from_generator(choices, output_signature=tf.TensorSpec([mixture.rows], tf.int64))
    rows = [source.unbatch() for source in sources]
    return tf.data.Dataset.choose_from_datasets(rows, chosen.unbatch()).batch(mixture.rows, drop_remainder=True)


def _source(folder: ShardFolder, order: Order, reader: int, first_row: int) -> tf.data.Dataset:
    """A reader's serialized rows of one folder, string [rows of a visit]."""
    most = max(shard["examples"] for shard in order.shards)

    def visits() -> Iterator[tuple]:
        for visit, following in itertools.pairwise(order.visits(reader, first_row)):
            path = folder.local(order.path(visit), ahead=order.path(following))
            yield path, order.shuffle_seed(visit), visit.first, visit.rows

    def read(path, shuffle_seed, first, rows):
        serialized = folder.records(path).batch(most).get_single_element()
        # Order.numbers says the same without TensorFlow.
        keys = tf.random.stateless_uniform(tf.shape(serialized), shuffle_seed, None, None, tf.int32)
        return tf.gather(serialized, tf.argsort(keys, stable=True)[first : first + rows])

    signature = (
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
    )
    return tf.data.Dataset.from_generator(visits, output_signature=signature).map(read).prefetch(1)


def validation_batches(
    folders: Sequence[ShardFolder],
    field: str,
    worker: Worker = Worker(),  # noqa: B008 - it is immutable
    *,
    global_batch_size: int,
    examples: int | None,
    seed: int = 0,
    masking: Masking | None = None,
) -> tf.data.Dataset:
    """The validation splits in order, at most `examples`; the last batch is filled up with rows of weight 0.

    Of several folders each gives its share of `examples`. Masks that are drawn here are the same each time.
    """
    sizes = [sum(shard["examples"] for shard in folder.split("validation")) for folder in folders]
    if not any(sizes):
        paths = ",".join(folder.path for folder in folders)
        raise InputError(f"{field}={paths}: expected validation examples. Received none.")
    count = sum(sizes) if examples is None else min(sum(sizes), examples)
    layout = folders[0].layout
    dataset = tf.data.Dataset.from_tensors(_blank_record(layout)).repeat(-count % global_batch_size)
    for folder, wanted in reversed(list(zip(folders, shares(count, sizes), strict=True))):
        if wanted:
            dataset = folder.in_sequence("validation").take(wanted).concatenate(dataset)
    rows = global_batch_size // worker.count

    def parse(number, serialized):
        batch = records.parse(serialized, layout)
        if not layout.max_predictions_per_seq:
            batch = dynamic_masking.mask(batch, masking, seed=[seed, 2], number=number, parts=range(1))
        batch = _with_weights(batch, layout)
        return {name: x[worker.index * rows : (worker.index + 1) * rows] for name, x in batch.items()}

    dataset = tf.data.Dataset.zip((tf.data.Dataset.counter(), dataset.batch(global_batch_size, drop_remainder=True)))
    return _finished(dataset.map(parse, num_parallel_calls=2))


def validation_of(
    config: PretrainConfig, folders: Sequence[ShardFolder], field: str
) -> Callable[[Worker], tf.data.Dataset]:
    """worker -> the validation batches of a pretraining run, whose config's `field` names the folders."""
    return functools.partial(
        validation_batches,
        folders,
        field,
        global_batch_size=config.train.global_batch_size,
        examples=config.train.evaluate_examples,
        seed=config.train.seed,
        masking=masking_of(config, folders[0]),
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
