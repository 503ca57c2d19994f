"""Shards -> batches, as a function of (seed, step): no iterator's state has to be saved or restored.

Epoch e visits the shards in an order drawn from (seed, e) and shuffles each shard by (seed, e, shard). The stream of
examples is cut into global batches without regard to epochs. So step s begins at example s * global_batch_size, and a
restart opens the one shard that holds it.
"""

import dataclasses
import json
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from bert_tf import records
from bert_tf.errors import InputError
from bert_tf.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class ShardFolder:
    """A finished folder of shards, as its dataset.json describes it."""

    path: str
    layout: records.RecordLayout
    vocabulary: Vocabulary
    lower_case: bool
    compression: str
    shards: tuple[dict, ...]

    @classmethod
    def open(cls, path: str, field: str) -> "ShardFolder":
        """Reads and checks a folder; `field` names the config field in errors.

        Raises:
          InputError: not a folder of shards, an unfinished one, or one whose vocabulary was changed.
        """
        manifest_path = os.path.join(path, records.MANIFEST)
        if not path or not tf.io.gfile.exists(manifest_path):
            raise InputError(
                f"{field}={path}: expected a folder of shards made by pipelines.create_pretraining_data. "
                f"Received a folder without {records.MANIFEST}."
            )
        if not tf.io.gfile.exists(os.path.join(path, records.COMPLETED)):
            raise InputError(f"{field}={path}: expected finished shards. Received a folder without COMPLETED.")
        vocabulary_path = os.path.join(path, records.VOCABULARY)
        try:
            with tf.io.gfile.GFile(manifest_path, "rb") as file:
                manifest = json.loads(file.read())
            with tf.io.gfile.GFile(vocabulary_path, "rb") as file:
                vocabulary = Vocabulary.parse(file.read(), vocabulary_path)
            for shard in manifest["shards"]:
                size = tf.io.gfile.stat(os.path.join(path, shard["name"])).length
                if size != shard["bytes"]:
                    raise InputError(
                        f"{field}={path}: {shard['name']}: expected the {shard['bytes']} bytes that "
                        f"{records.MANIFEST} names. Received {size}."
                    )
        except tf.errors.NotFoundError as error:
            raise InputError(f"{field}={path}: expected every file of the shards. Received: {error.message}.") from None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{manifest_path}: expected what the pipeline wrote. Received {reason}.") from None
        made_with = manifest["vocabulary"]["sha256"]
        if vocabulary.sha256 != made_with:
            raise InputError(
                f"{vocabulary_path}: expected the vocabulary that the shards were made with, sha256 {made_with[:12]}. "
                f"Received one with sha256 {vocabulary.sha256[:12]}."
            )
        try:
            layout, parameters = records.RecordLayout.of(manifest), manifest["parameters"]
            lower_case, compression = parameters["instances"]["lower_case"], parameters["compression"]
        except (KeyError, TypeError):
            raise InputError(
                f"{field}={path}: expected shards of format 3. Received format {manifest.get('format')}; make them "
                "anew with pipelines.create_pretraining_data."
            ) from None
        return cls(path, layout, vocabulary, lower_case, compression, tuple(manifest["shards"]))

    def records(self, paths) -> tf.data.TFRecordDataset:
        """The serialized records of shard files."""
        return tf.data.TFRecordDataset(paths, compression_type="GZIP" if self.compression == "gzip" else "")

    def split(self, name: str) -> list[dict]:
        """The shards of a split that hold examples."""
        return [s for s in self.shards if s["name"].startswith(f"pretrain-{name}.") and s["examples"]]


def check(folder: ShardFolder, field: str, *, layout: records.RecordLayout, vocab_size: int) -> None:
    """Refuses shards that do not fit the model, before the first step.

    Raises:
      InputError: naming both values.
    """
    if not folder.layout.max_predictions_per_seq:
        raise InputError(
            f"{field}={folder.path}: expected shards with masks. Received some made with --masking=none; "
            "masks are not drawn in training yet."
        )
    for name, wanted, received in (
        ("data.max_seq_length", layout.max_seq_length, folder.layout.max_seq_length),
        (
            "data.max_predictions_per_seq",
            layout.max_predictions_per_seq,
            folder.layout.max_predictions_per_seq,
        ),
        ("model.vocab_size", vocab_size, len(folder.vocabulary)),
    ):
        if wanted != received:
            raise InputError(
                f"{name}={wanted}: expected what the shards were made with. {field}={folder.path} has {received}."
            )


def check_vocabulary(folder: ShardFolder, field: str, expected: Vocabulary, source: str) -> None:
    """Refuses shards whose ids mean other tokens than those of `source`."""
    if folder.vocabulary.sha256 != expected.sha256:
        raise InputError(
            f"{field}={folder.path}: expected shards made with the vocabulary of {source} "
            f"({len(expected)} tokens, sha256 {expected.sha256[:12]}). Received shards made with another "
            f"({len(folder.vocabulary)} tokens, sha256 {folder.vocabulary.sha256[:12]})."
        )


def settle_vocabulary(folder: ShardFolder, workdir: str) -> None:
    """Keeps the vocabulary in the workdir; a resumed run whose shards were made anew with another one is refused."""
    path = os.path.join(workdir, records.VOCABULARY)
    if os.path.exists(path):
        check_vocabulary(folder, "data.train", Vocabulary.load(path), f"the run in {workdir}")
        return
    with open(path + ".tmp", "wb") as file:
        file.write(folder.vocabulary.serialize())
    os.replace(path + ".tmp", path)


def training_batches(folder: ShardFolder, start_step: int, *, global_batch_size: int, seed: int) -> tf.data.Dataset:
    """The endless stream of global batches, from optimizer step `start_step` on."""
    shards = folder.split("train")
    if not shards:
        raise InputError(f"data.train={folder.path}: expected training examples. Received none.")

    def visits() -> Iterator[tuple[str, list[int], int]]:
        skip = start_step * global_batch_size
        epoch, skip = divmod(skip, sum(shard["examples"] for shard in shards))
        while True:
            for index in np.random.default_rng([seed, epoch]).permutation(len(shards)):
                examples = shards[index]["examples"]
                if skip < examples:
                    shuffle_seed = np.random.default_rng([seed, epoch, index]).integers(2**31, size=2)
                    yield os.path.join(folder.path, shards[index]["name"]), shuffle_seed, skip
                skip = max(0, skip - examples)
            epoch += 1

    def read(path, shuffle_seed, skip):
        serialized = folder.records(path).batch(max(s["examples"] for s in shards)).get_single_element()
        keys = tf.random.stateless_uniform(tf.shape(serialized), shuffle_seed, None, None, tf.int32)
        return tf.gather(serialized, tf.argsort(keys, stable=True))[skip:]

    signature = (
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(visits, output_signature=signature)
    dataset = dataset.map(read).prefetch(1).unbatch().batch(global_batch_size, drop_remainder=True)
    return _parsed(dataset, folder.layout)


def validation_batches(
    folder: ShardFolder, field: str, *, global_batch_size: int, examples: int | None
) -> tf.data.Dataset:
    """The validation split in order, at most `examples`; the last batch is filled up with rows of weight 0."""
    shards = folder.split("validation")
    if not shards:
        raise InputError(f"{field}={folder.path}: expected validation examples. Received none.")
    paths = [os.path.join(folder.path, shard["name"]) for shard in shards]
    count = sum(shard["examples"] for shard in shards)
    count = count if examples is None else min(count, examples)
    dataset = folder.records(paths).take(count)
    blank = _blank_record(folder.layout)
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors(blank).repeat(-count % global_batch_size))
    return _parsed(dataset.batch(global_batch_size, drop_remainder=True), folder.layout)


def _parsed(dataset: tf.data.Dataset, layout: records.RecordLayout) -> tf.data.Dataset:
    def parse(serialized):
        batch = records.parse(serialized, layout)
        # A blank row has no token at all; every real one has at least [CLS]. Packed rows bring their weights.
        if not layout.has_pairs:
            batch["next_sentence_labels"] = tf.zeros_like(batch["input_mask"][:, :1])
            batch["next_sentence_weights"] = tf.zeros_like(batch["input_mask"][:, :1], tf.float32)
        elif not layout.max_sequences_per_row:
            batch["next_sentence_weights"] = tf.cast(batch["input_mask"][:, :1], tf.float32)
        return batch

    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.map(parse, num_parallel_calls=2).prefetch(2).with_options(options)


def _blank_record(layout: records.RecordLayout) -> bytes:
    zeros = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in layout.features.items()}
    return records.encode(zeros, layout)[0]
