"""A finished folder of shards, and whether it fits a run."""

import concurrent.futures
import dataclasses
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Sequence

import tensorflow as tf

from bert_tf.core import errors, record_files, records
from bert_tf.core.config import PretrainConfig
from bert_tf.core.errors import InputError, StorageError, reason_of
from bert_tf.core.stores import objects
from bert_tf.core.stores.cache import cache
from bert_tf.models.family import family_of
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary, added_tokens

_RECORDS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class ShardFolder:
    """A finished folder of shards, as its dataset.json describes it."""

    path: str
    layout: records.RecordLayout
    vocabulary: Vocabulary
    tokenizer: str
    settings: TokenizerConfig
    compression: str
    shards: tuple[dict, ...]

    @classmethod
    def open(cls, path: str, field: str) -> "ShardFolder":
        """Reads and checks a folder; `field` names the config field in errors.

        Raises:
          InputError: not a folder of shards, an unfinished one, or one whose vocabulary was changed.
        """
        manifest_path = objects.join(path, records.MANIFEST)
        there = objects.below(path, shallow=True) if path else {}
        if records.MANIFEST not in there:
            raise InputError(
                f"{field}={path}: expected a folder of shards made by pipelines.create_pretraining_data. "
                f"Received a folder without {records.MANIFEST}."
            )
        if records.COMPLETED not in there:
            raise InputError(f"{field}={path}: expected finished shards. Received a folder without COMPLETED.")
        vocabulary_path = objects.join(path, records.VOCABULARY)
        try:
            manifest = json.loads(objects.read_bytes(manifest_path))
            for name in (records.VOCABULARY, *(shard["name"] for shard in manifest["shards"])):
                if name not in there:
                    raise InputError(
                        f"{field}={path}: expected every file of the shards. Received a folder without {name}."
                    )
            data = objects.read_bytes(vocabulary_path)
            vocabulary = Vocabulary.parse(data, vocabulary_path, added_tokens(manifest["vocabulary"]))
            for shard in manifest["shards"]:
                size = there[shard["name"]].bytes
                if size != shard["bytes"]:
                    raise InputError(
                        f"{field}={path}: {shard['name']}: expected the {shard['bytes']} bytes that "
                        f"{records.MANIFEST} names. Received {size}."
                    )
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
            instances, compression = parameters["instances"], parameters["compression"]
            kind = instances.get("tokenizer", "wordpiece")  # 0.1 had one kind, and lower_case as the only setting
            names = [field.name for field in dataclasses.fields(TokenizerConfig)]
            settings = TokenizerConfig(**{name: instances[name] for name in names if name in instances})
        except (KeyError, TypeError):
            raise InputError(
                f"{field}={path}: expected shards of format 3 or later. Received format {manifest.get('format')}; "
                "make them anew with pipelines.create_pretraining_data."
            ) from None
        return cls(path, layout, vocabulary, kind, settings, compression, tuple(manifest["shards"]))

    def records(self, paths) -> tf.data.TFRecordDataset:
        """The serialized records of shard files."""
        return tf.data.TFRecordDataset(paths, compression_type="GZIP" if self.compression == "gzip" else "")

    def split(self, name: str) -> list[dict]:
        """The shards of a split that hold examples."""
        return [s for s in self.shards if s["name"].startswith(f"pretrain-{name}.") and s["examples"]]

    def paths(self, name: str) -> list[str]:
        """The files of a split."""
        return [objects.join(self.path, shard["name"]) for shard in self.split(name)]

    def local(self, path: str, ahead: str | None = None) -> str:
        """The path of a shard on this machine, which is fetched if it is remote.

        Args:
          path: of the shard.
          ahead: of the next one, which is fetched meanwhile.

        Raises:
          InputError: its content is not what dataset.json says. As `errors.encode` makes it, since TensorFlow, which
            calls this, passes text on.
        """
        if not objects.is_remote(path):
            return path
        try:
            coming = self._fetch(path)
            found = coming.result()
            if ahead is not None:
                self._fetch(ahead)
            return found
        except InputError as error:
            raise InputError(errors.encode(error)) from None

    def pin(self, shards: int) -> None:
        """Keeps at least so many of the shards that were fetched last on this machine."""
        if objects.is_remote(self.path):
            cache().pinned = max(cache().pinned, shards)

    def _fetch(self, path: str) -> concurrent.futures.Future:
        return cache().fetch(path, next(s["sha256"] for s in self.shards if path.endswith(f"/{s['name']}")))

    def in_sequence(self, name: str) -> tf.data.Dataset:
        """The serialized records of a split, in order."""
        paths = self.paths(name)
        if not objects.is_remote(self.path):
            return self.records(paths)
        found = tf.data.Dataset.from_generator(
            lambda: (self.local(*pair) for pair in itertools.zip_longest(paths, paths[1:])),
            output_signature=tf.TensorSpec([], tf.string),
        )
        return found.flat_map(self.records)


def settled(config: PretrainConfig, folder: ShardFolder) -> PretrainConfig:
    """The config with the lengths and the size of the vocabulary, where they are left to the shards.

    Raises:
      InputError: the shards' rows are longer than the model takes.
    """
    data, model, layout = config.data, config.model, folder.layout
    length = layout.max_seq_length if data.max_seq_length is None else data.max_seq_length
    if data.max_seq_length is None and length > model.max_position_embeddings:
        raise InputError(
            f"data.train={folder.path}: expected rows of at most model.max_position_embeddings="
            f"{model.max_position_embeddings} tokens. Received shards of {length}."
        )
    predictions = data.max_predictions_per_seq
    if predictions is None:
        predictions = layout.max_predictions_per_seq or records.usual_predictions(data.masked_lm_prob, length)
    data = dataclasses.replace(data, max_seq_length=length, max_predictions_per_seq=predictions)
    if model.vocab_size is None:
        model = dataclasses.replace(model, vocab_size=len(folder.vocabulary))
    return dataclasses.replace(config, data=data, model=model)


def check_alike(folders: Sequence[ShardFolder], field: str) -> None:
    """Refuses folders whose rows cannot stand in one batch: other shapes, vocabulary or normalization.

    Raises:
      InputError: naming the folder, the field of its dataset.json and both values.
    """
    first = folders[0]
    for folder in folders[1:]:
        check_vocabulary(folder, field, first.vocabulary, f"{field}={first.path}")
        check_tokenizer(folder, field, first.settings, f"{field}={first.path}")
        for name, expected in {**dataclasses.asdict(first.layout), "tokenizer": first.tokenizer}.items():
            received = getattr(folder.layout, name, folder.tokenizer)
            if received != expected:
                raise InputError(
                    f"{field}={folder.path}: expected shards with {name}={expected}, as {field}={first.path} has it. "
                    f"Received shards with {received}."
                )


def layout_of(config: PretrainConfig, stored: records.RecordLayout) -> records.RecordLayout:
    """What a settled run's batches hold: masks that are drawn in training are as many as the config says."""
    return dataclasses.replace(stored, max_predictions_per_seq=config.data.max_predictions_per_seq or 0)


def check(folder: ShardFolder, field: str, config: PretrainConfig) -> None:
    """Refuses shards that do not fit a settled config, before the first step.

    Raises:
      InputError: naming both values.
    """
    data, layout = config.data, folder.layout
    # Shards without masks do not say how many there will be.
    predictions = layout.max_predictions_per_seq or data.max_predictions_per_seq
    for name, wanted, received in (
        ("data.max_seq_length", data.max_seq_length, layout.max_seq_length),
        ("data.max_predictions_per_seq", data.max_predictions_per_seq, predictions),
        ("model.vocab_size", config.model.vocab_size, len(folder.vocabulary)),
    ):
        if wanted != received:
            raise InputError(
                f"{name}={wanted}: expected what the shards were made with. {field}={folder.path} has {received}."
            )
    kind = family_of(config.model.model_type).tokenizer
    if folder.tokenizer != kind:
        raise InputError(
            f"{field}={folder.path}: expected shards made with --tokenizer={kind}, as a model of type "
            f"{config.model.model_type} has it. Received shards made with {folder.tokenizer}."
        )


def check_vocabulary(folder: ShardFolder, field: str, expected: Vocabulary, source: str) -> None:
    """Refuses shards whose ids mean other tokens than those of `source`."""
    if folder.vocabulary.sha256 != expected.sha256:
        raise InputError(
            f"{field}={folder.path}: expected shards made with the vocabulary of {source} "
            f"({len(expected)} tokens, sha256 {expected.sha256[:12]}). Received shards made with another "
            f"({len(folder.vocabulary)} tokens, sha256 {folder.vocabulary.sha256[:12]})."
        )


def check_tokenizer(folder: ShardFolder, field: str, tokenizer: TokenizerConfig, source: str) -> None:
    """Refuses shards whose text was normalized in another way than `source` does it."""
    for flag, expected in tokenizer.flags().items():
        received = folder.settings.flags()[flag]
        if expected != received:
            raise InputError(
                f"{field}={folder.path}: expected shards made with --{flag}={expected}, as {source} has it. "
                f"Received shards made with {received}."
            )


def find_damage(folder: ShardFolder, paths: Sequence[str]) -> str | None:
    """The first record of some shards that cannot be read or is no example of the layout, in words; None if none."""
    for path in paths:
        found = _damage(folder, path)
        if found:
            return f"{path}: {found}"
    return None


def damage_in(folders: Sequence[ShardFolder], paths: Sequence[Sequence[str]]) -> str | None:
    """Like find_damage, with the shards of each folder."""
    return next(filter(None, map(find_damage, folders, paths)), None)


def validation_damage(folders: Sequence[ShardFolder]) -> str | None:
    """Like find_damage, of the validation splits."""
    return damage_in(folders, [folder.paths("validation") for folder in folders])


def _damage(folder: ShardFolder, path: str) -> str | None:
    serialized: list[bytes] = []
    try:
        data = objects.read_bytes(path)
        if folder.compression == "gzip":
            data = gzip.decompress(data)
        for record in record_files.read_records(io.BytesIO(data)):
            serialized.append(record)
    except (EOFError, OSError, zlib.error) as error:
        return f"record {len(serialized)}: {error}"
    except StorageError as error:
        return str(error)
    for start in range(0, len(serialized), _RECORDS_AT_ONCE):
        found = _unparsed(serialized[start : start + _RECORDS_AT_ONCE], folder.layout)
        if found:
            return f"record {start + found[0]}: no example of this layout: {found[1]}"
    expected = next(s["examples"] for s in folder.shards if objects.join(folder.path, s["name"]) == path)
    if len(serialized) != expected:
        return f"{len(serialized)} records where {records.MANIFEST} names {expected}"
    return None


def _unparsed(serialized: Sequence[bytes], layout: records.RecordLayout) -> tuple[int, str] | None:
    """Number and reason of the first record that is no example of the layout."""
    try:
        records.parse(tf.constant(serialized, tf.string, [len(serialized)]), layout)
    except tf.errors.InvalidArgumentError as error:
        if len(serialized) == 1:
            return 0, reason_of(error)
        half = len(serialized) // 2
        first = _unparsed(serialized[:half], layout)
        if first:
            return first
        second = _unparsed(serialized[half:], layout)
        return second and (half + second[0], second[1])
    return None
