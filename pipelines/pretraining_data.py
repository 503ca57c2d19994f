"""The job: documents -> pools -> shards, with one GroupByKey.

Each document goes, by a hash of (seed, pass, document id), to one of the pools, and a pool becomes one shard. So the
bytes of a shard depend on the input and the seed alone, not on runner, workers or the order of the files.
"""

import collections
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from bert_tf import records
from bert_tf.errors import InputError, require
from bert_tf.vocabulary import Vocabulary
from pipelines import output_folder, shards
from pipelines.documents import document_id
from pipelines.exchange import Block, ToBlocks, read_blocks
from pipelines.options import is_local, local_options
from pipelines.pool import InstanceConfig, make_records
from pipelines.quiet import quiet_workers
from pipelines.readers import ReadDocuments, match_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Everything that decides the bytes of the shards, beside the input and the vocabulary."""

    instances: InstanceConfig = InstanceConfig()
    num_shards: int = 8
    num_validation_shards: int = 1
    validation_fraction: float = 0.02
    dupe_factor: int = 1

    def __post_init__(self):
        require(
            self.instances.max_seq_length >= 5,
            "--max_seq_length must be at least 5",
            self.instances.max_seq_length,
        )
        predictions = self.instances.max_predictions_per_seq
        require(predictions >= 1, "--max_predictions_per_seq must be at least 1", predictions)
        require(
            0 < self.instances.masked_lm_prob < 1,
            "--masked_lm_prob must lie in (0, 1)",
            self.instances.masked_lm_prob,
        )
        require(
            self.num_validation_shards >= 1, "--num_validation_shards must be at least 1", self.num_validation_shards
        )
        short = self.instances.short_seq_prob
        require(0 <= short <= 1, "--short_seq_prob must lie in [0, 1]", short)
        require(self.num_shards >= 1, "--num_shards must be at least 1", self.num_shards)
        require(self.dupe_factor >= 1, "--dupe_factor must be at least 1", self.dupe_factor)
        require(
            0 <= self.validation_fraction < 1,
            "--validation_fraction must lie in [0, 1)",
            self.validation_fraction,
        )
        require(self.instances.seed >= 0, "--seed must not be negative", self.instances.seed)

    def shard_names(self) -> list[str]:
        names = [records.shard_name("train", i, self.num_shards) for i in range(self.num_shards)]
        if self.validation_fraction:
            count = self.num_validation_shards
            names += [records.shard_name("validation", i, count) for i in range(count)]
        return names


def assign_pools(
    text: str, config: JobConfig, wanted: frozenset[str] | None = None
) -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Yields (shard name, (order key, document)) once for every pass.

    A document is in validation or in training for all passes.

    Args:
      text: the document.
      config: seed, shards and passes.
      wanted: shards that are to be made; None means all.
    """
    identity = document_id(text)
    key = f"{config.instances.seed}".encode()
    in_validation = _fraction(hashlib.blake2b(identity, key=key, person=b"split").digest()) < config.validation_fraction
    split, count = ("validation", config.num_validation_shards) if in_validation else ("train", config.num_shards)
    for number in range(1 if in_validation else config.dupe_factor):
        digest = hashlib.blake2b(identity, key=key, salt=number.to_bytes(4), person=b"pool").digest()
        name = records.shard_name(split, int(_fraction(digest) * count), count)
        if wanted is None or name in wanted:
            yield name, (digest[-16:], text)


def _fraction(digest: bytes) -> float:
    """A stable pseudo-random number in [0, 1) from the front of a digest."""
    return int.from_bytes(digest[:6]) / 2**48  # 48 bits divide exactly: more could round up to 1


class MakeShard(beam.DoFn):
    """(shard name, documents) -> what dataset.json says of the shard, which is written on the way."""

    def __init__(self, output_dir: str, vocabulary: Vocabulary, config: InstanceConfig):
        self._output_dir, self._vocabulary, self._config = output_dir, vocabulary, config

    def setup(self):
        # TensorFlow is loaded here and not at import: only workers that make shards pay for it.
        from bert_tf.tokenizer import Tokenizer

        self._tokenizer = Tokenizer(self._vocabulary, lower_case=self._config.lower_case)

    def process(self, element: tuple[str, Iterable[Block | None]]) -> Iterator[dict]:
        name, blocks = element
        documents, count = read_blocks(block for block in blocks if block is not None)
        serialized, counts = make_records(name, documents.items(), self._tokenizer, self._config)
        counts["duplicates"] = count - len(documents)
        for counter, value in counts.items():
            Metrics.counter("pretraining_data", counter).inc(value)
        info = {**shards.write_shard(self._output_dir, name, serialized), "counts": dict(counts)}
        output_folder.mark_finished(self._output_dir, info)
        yield info


class FinishDataset(beam.DoFn):
    """All shards' descriptions -> metadata, dataset.json and COMPLETED."""

    def __init__(self, output_dir: str, config: JobConfig, manifest: dict):
        self._output_dir, self._config, self._manifest = output_dir, config, manifest

    def process(self, shard_infos: list[dict], reading: dict[str, int]) -> Iterator[dict]:
        infos = sorted(shard_infos, key=lambda info: info["name"])
        total = collections.Counter(documents_read=reading["read"], bad_records=reading["bad"])
        for info in infos:
            total.update(info["counts"])
        manifest = {**self._manifest, "counts": dict(sorted(total.items())), "shards": infos}
        if not any(info["examples"] for info in infos):
            raise InputError(
                "--input: expected text for at least one instance. Received "
                f"{total['passes_over_documents']} documents that make none (it takes two sentences)."
            )
        shards.write_tfds_metadata(self._output_dir, self._config.instances.layout, infos)
        shards.write_manifest(self._output_dir, manifest)
        yield manifest


def create_pretraining_data(
    *,
    input_patterns: list[str],
    vocab: str,
    output_dir: str,
    config: JobConfig,
    max_bad_fraction: float = 0.01,
    overwrite: bool = False,
    beam_arguments: list[str] | None = None,
) -> dict:
    """Makes a folder of shards and returns its dataset.json.

    A folder that is complete and was made with the same parameters is left as it is. In one whose job was killed, the
    shards that were finished are checked and kept.

    Args:
      input_patterns: globs.
      vocab: path of vocab.txt.
      output_dir: folder for the shards.
      config: what to make.
      max_bad_fraction: more bad records than this share of all fail the job; they are listed in dead_letter.jsonl.
      overwrite: replace a folder that was made with other parameters.
      beam_arguments: Beam's own options, such as --runner.

    Raises:
      InputError: wrong input, vocabulary or parameters, or a folder made with other ones.
    """
    # All checks come before the first change of the folder.
    options = local_options(beam_arguments or [])
    data = shards.read_bytes(vocab)
    if data is None:
        raise InputError(f"--vocab {vocab}: expected a vocabulary file. Received: no such file.")
    vocabulary = Vocabulary.parse(data, f"--vocab {vocab}")
    files = match_files(input_patterns)
    listing = repr([(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in files])
    manifest = {
        "format": 2,  # counts up when the same parameters make other bytes
        "parameters": dataclasses.asdict(config),
        "input": {
            "patterns": input_patterns,
            "files": len(files),
            "bytes": sum(file.size_in_bytes for file in files),
            "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),  # paths, sizes and times of change
        },
        "vocabulary": {"size": len(vocabulary), "sha256": vocabulary.sha256},
        "max_seq_length": config.instances.max_seq_length,
        "max_predictions_per_seq": config.instances.max_predictions_per_seq,
        "versions": {name: importlib.metadata.version(name) for name in ("apache-beam", "numpy", "tensorflow-text")},
    }
    if complete := output_folder.reusable(output_dir, manifest, overwrite):
        return complete
    kept = [] if overwrite else output_folder.finished_shards(output_dir)
    output_folder.clear(output_dir, kept)
    output_folder.make_folders(output_dir)
    shards.write_bytes(FileSystems.join(output_dir, records.JOB), (json.dumps(manifest, indent=2) + "\n").encode())
    vocabulary_path = FileSystems.join(output_dir, records.VOCABULARY)
    brought_vocabulary = FileSystems.exists(vocabulary_path)
    shards.write_bytes(vocabulary_path, vocabulary.serialize())

    names = config.shard_names()
    remaining = sorted(set(names) - {info["name"] for info in kept})
    if kept:
        print(f"Going on: {len(kept)} of {len(names)} shards were finished before and are whole.", flush=True)
    # Beam's local runner would keep all text in memory; a service shuffles it.
    folder = FileSystems.join(output_dir, records.EXCHANGE) if is_local(options) else None
    try:
        with output_folder.Progress(output_dir, len(names)), quiet_workers(), beam.Pipeline(options=options) as root:
            # An element without a block for each pool, so that exactly num_shards files are written.
            empty = root | "AllPools" >> beam.Create([(name, None) for name in remaining])
            documents, reading = root | "ReadDocuments" >> ReadDocuments(
                [file.path for file in files],
                max_bad_fraction=max_bad_fraction,
                dead_letter=FileSystems.join(output_dir, records.DEAD_LETTER),
            )
            blocks = (
                documents
                | "AssignPools" >> beam.FlatMap(assign_pools, config, frozenset(remaining))
                | "ToBlocks" >> beam.ParDo(ToBlocks(folder))
            )
            made = (
                (blocks, empty)
                | "WithEmptyPools" >> beam.Flatten()
                | "GroupPools" >> beam.GroupByKey()
                | "MakeShard" >> beam.ParDo(MakeShard(output_dir, vocabulary, config.instances))
            )
            _ = (
                (made, root | "KeptShards" >> beam.Create(kept))
                | "AllShards" >> beam.Flatten()
                | "CollectShards" >> beam.combiners.ToList()
                | "FinishDataset"
                >> beam.ParDo(FinishDataset(output_dir, config, manifest), beam.pvalue.AsSingleton(reading))
            )
    except Exception as error:
        # Wrong input will not get better as it is: what was made of it goes. After anything else the job can go on.
        if isinstance(error, InputError) or "InputError: " in str(error):
            output_folder.clear(output_dir, with_dead_letter=False)
            if not brought_vocabulary:
                FileSystems.delete([vocabulary_path])
        raise
    output_folder.remove_work_files(output_dir)
    return output_folder.read_json(output_dir, records.MANIFEST)
