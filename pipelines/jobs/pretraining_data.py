"""The job: documents -> pools -> shards, with one GroupByKey.

Each document goes, by a hash of (seed, pass, document id), to one of the pools, and a pool becomes one shard. So the
bytes of a shard depend on the input and the seed alone, not on runner, workers or the order of the files.
"""

import collections
import dataclasses
import gc
import hashlib
import importlib.metadata
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from bert_tf.core import records
from bert_tf.core.errors import InputError, StorageError, require
from bert_tf.text.vocabulary import Vocabulary
from pipelines.filtering.cleaning import DocumentConfig, prepare
from pipelines.filtering.duplicates import FindLosses, losses_by_document, without_losses
from pipelines.instances.pool import make_records
from pipelines.jobs.job import JobConfig, WantedPools, settle_shards
from pipelines.reading.documents import document_id
from pipelines.reading.inputs import InputFile, match_files
from pipelines.reading.reading import ReadDocuments
from pipelines.running.bundles import at_bundle_end
from pipelines.running.options import is_local, local_options
from pipelines.running.quiet import quiet_workers
from pipelines.writing import output_folder, shards
from pipelines.writing.exchange import Block, Losses, PoolInput, ToBlocks, read_blocks
from pipelines.writing.progress import Progress
from pipelines.writing.report import shares


class PrepareDocuments(beam.DoFn):
    """Documents as they were read -> those to make instances of; counts what is dropped, as {name: number}."""

    def __init__(self, config: DocumentConfig):
        self._config = config

    def start_bundle(self):
        self._counts: collections.Counter = collections.Counter()

    def process(self, texts: list[str]) -> Iterator[list[str]]:
        prepared = (prepare(text, self._config, self._counts) for text in texts)
        yield [text for text in prepared if text is not None]

    def finish_bundle(self):
        # Elements and not Beam's metrics, which count a bundle twice if a runner repeats it.
        yield beam.pvalue.TaggedOutput("counts", at_bundle_end(dict(self._counts)))


class MakeShards(beam.PTransform):
    """Lists of documents -> what dataset.json says of each shard, those to keep included."""

    def __init__(
        self,
        output_dir: str,
        vocabulary: Vocabulary,
        config: JobConfig,
        *,
        kept: list[dict],
        text_bytes: float,
        exchange: str | None,
    ):
        super().__init__()
        self._output_dir, self._vocabulary, self._config = output_dir, vocabulary, config
        self._kept, self._text_bytes, self._exchange = kept, text_bytes, exchange

    def expand(self, documents):
        root, config = documents.pipeline, self._config
        remaining = sorted(set(config.shard_names()) - {info["name"] for info in self._kept})
        pools = WantedPools(config, frozenset(remaining))
        blocks = documents | "ToBlocks" >> beam.ParDo(ToBlocks(pools.of_text, self._exchange))
        losses = (
            documents
            | "FindLosses" >> FindLosses(config.documents, pools.of_id, self._text_bytes)
            | "AsLosses" >> beam.MapTuple(lambda name, data: (name, Losses(data)))
        )
        # An element without a block for each pool, so that exactly num_shards files are written.
        empty = root | "AllPools" >> beam.Create([(name, None) for name in remaining])
        made = (
            (blocks, losses, empty)
            | "WithEmptyPools" >> beam.Flatten()
            | "GroupPools" >> beam.GroupByKey()
            | "MakeShard" >> beam.ParDo(MakeShard(self._output_dir, self._vocabulary, config))
        )
        return (made, root | "KeptShards" >> beam.Create(self._kept)) | "AllShards" >> beam.Flatten()


class MakeShard(beam.DoFn):
    """(shard name, documents) -> what dataset.json says of the shard, which is written on the way."""

    def __init__(self, output_dir: str, vocabulary: Vocabulary, config: JobConfig):
        self._output_dir, self._vocabulary, self._config = output_dir, vocabulary, config

    def setup(self):
        # TensorFlow is loaded here and not at import: only workers that make shards pay for it.
        from bert_tf.text.wordpiece import Tokenizer

        self._tokenizer = Tokenizer(self._vocabulary, lower_case=self._config.instances.lower_case)

    def process(self, element: tuple[str, Iterable[Block | None]]) -> Iterator[dict]:
        # A pool makes millions of objects and no cycles: looking for some takes a tenth of the time.
        gc.disable()
        try:
            yield self._made(*element)
        finally:
            gc.enable()

    def _made(self, name: str, blocks: Iterable[Block | None]) -> dict:
        counts: collections.Counter = collections.Counter()
        found = read_blocks(block for block in blocks if block is not None)
        documents = pool_documents(found, self._config.documents, counts)
        batches = make_records(name, documents, self._tokenizer, self._config.instances, counts)
        written = shards.write_shard(self._output_dir, name, batches, self._config.compression)
        for counter, value in counts.items():
            Metrics.counter("pretraining_data", counter).inc(value)
        info = {**written, "counts": dict(counts)}
        output_folder.mark_finished(self._output_dir, info)
        return info


def pool_documents(
    found: PoolInput, config: DocumentConfig, counts: collections.Counter
) -> Iterator[tuple[bytes, str]]:
    """The documents of a pool by order keys, without what they lose as duplicates; `found` is emptied on the way."""
    losses = losses_by_document(found.losses)
    while found.documents:
        key, text = found.documents.popitem()
        times = 1 + found.again[key]
        if config.deduplicate:
            counts["dropped_duplicates"] += times - 1
            times = 1
        if losses and (lost := losses.get(document_id(text))):
            text = without_losses(text, lost)
            if text is None:
                counts["dropped_near_duplicates"] += times
                continue
            counts["lines_of_other_documents"] += len(lost) * times
            if not text or len(text) < config.min_characters:
                counts["dropped_short" if text else "dropped_empty"] += times
                continue
        yield key, text
        for number in range(1, times):
            yield hashlib.blake2b(key, salt=number.to_bytes(8), digest_size=16).digest(), text


class FinishDataset(beam.DoFn):
    """All shards' descriptions -> metadata, dataset.json and COMPLETED."""

    def __init__(self, output_dir: str, config: JobConfig, manifest: dict, started: float):
        self._output_dir, self._config, self._manifest, self._started = output_dir, config, manifest, started

    def process(
        self, shard_infos: list[dict], reading: dict[str, int], prepared: list[dict[str, int]]
    ) -> Iterator[dict]:
        infos = sorted(shard_infos, key=lambda info: info["name"])
        total = collections.Counter(documents_read=reading["read"], bad_records=reading["bad"])
        for counts in (*prepared, *(info["counts"] for info in infos)):
            total.update(counts)
        manifest = {
            **self._manifest,
            "counts": dict(sorted(total.items())),
            "shares": shares(total, self._config.instances.layout),
            "seconds": round(time.time() - self._started, 1),
            "shards": infos,
        }
        if not any(info["examples"] for info in infos):
            raise InputError(
                "--input: expected text for at least one instance. Received "
                f"{total['documents_read']} documents that make none (a pair takes two sentences)."
            )
        if self._config.compression == "none":  # TFDS reads no compressed records
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
    started = time.time()  # a worker on another machine will look at its own clock
    # All checks come before the first change of the folder.
    options = local_options(beam_arguments or [])
    require(0 <= max_bad_fraction <= 1, "--max_bad_fraction must lie in [0, 1]", max_bad_fraction)
    data = shards.read_bytes(vocab)
    if data is None:
        raise InputError(f"--vocab {vocab}: expected a vocabulary file. Received: no such file.")
    vocabulary = Vocabulary.parse(data, f"--vocab {vocab}")
    files = match_files(input_patterns)
    text_bytes = sum(file.text_bytes for file in files)
    config, warning = settle_shards(config, text_bytes)
    if warning:
        print(warning, file=sys.stderr, flush=True)
    manifest = _description(config, vocabulary, input_patterns, files)
    complete, kept = output_folder.reusable(output_dir, manifest, overwrite)
    if complete:
        return complete
    output_folder.begin(output_dir, manifest, kept)
    vocabulary_path = FileSystems.join(output_dir, records.VOCABULARY)
    brought_vocabulary = FileSystems.exists(vocabulary_path)
    shards.write_bytes(vocabulary_path, vocabulary.serialize())

    total = len(config.shard_names())
    if kept:
        print(f"Going on: {len(kept)} of {total} shards were finished before and are whole.", flush=True)
    passes = 1 + (config.dupe_factor - 1) * (1 - config.validation_fraction)
    try:
        with (
            Progress(output_dir, total=total, kept=len(kept), text_bytes=text_bytes, passes=passes),
            quiet_workers(),
            beam.Pipeline(options=options) as root,
        ):
            documents, reading = root | "ReadDocuments" >> ReadDocuments(
                [part for file in files for part in file.parts()],
                config.file_format,
                max_bad_fraction=max_bad_fraction,
                dead_letter=FileSystems.join(output_dir, records.DEAD_LETTER),
            )
            prepared = documents | "PrepareDocuments" >> beam.ParDo(PrepareDocuments(config.documents)).with_outputs(
                "counts", main="documents"
            )
            made = prepared.documents | "MakeShards" >> MakeShards(
                output_dir,
                vocabulary,
                config,
                kept=kept,
                text_bytes=text_bytes,
                # Beam's local runner would keep all text in memory; a service shuffles it.
                exchange=FileSystems.join(output_dir, records.EXCHANGE) if is_local(options) else None,
            )
            _ = (
                made
                | "CollectShards" >> beam.combiners.ToList()
                | "FinishDataset"
                >> beam.ParDo(
                    FinishDataset(output_dir, config, manifest, started),
                    beam.pvalue.AsSingleton(reading),
                    beam.pvalue.AsList(prepared.counts),
                )
            )
    except Exception as error:
        output_folder.remove_exchange(output_dir)
        # Wrong input will not get better as it is: what was made of it goes. After anything else the job can go on.
        if _is_wrong_input(error):
            output_folder.clear(output_dir, {records.DEAD_LETTER})
            if not brought_vocabulary:
                FileSystems.delete([vocabulary_path])
        raise
    output_folder.remove_work_files(output_dir)
    return output_folder.read_json(output_dir, records.MANIFEST)


def _is_wrong_input(error: Exception) -> bool:
    """Also of a worker's exception, which comes back as text."""
    if isinstance(error, StorageError) or "StorageError: " in str(error):
        return False
    return isinstance(error, InputError) or "InputError: " in str(error)


def _description(config: JobConfig, vocabulary: Vocabulary, input_patterns: list[str], files: list[InputFile]) -> dict:
    """What dataset.json will say, but for what comes out."""
    listing = repr([(file.path, file.bytes, file.modified) for file in files])
    return {
        "format": 5,  # counts up when the same parameters make other bytes
        "parameters": dataclasses.asdict(config),
        "input": {
            "patterns": input_patterns,
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),  # paths, sizes and times of change
        },
        "vocabulary": {"size": len(vocabulary), "sha256": vocabulary.sha256},
        "layout": dataclasses.asdict(config.instances.layout),
        "versions": {
            **{name: importlib.metadata.version(name) for name in ("apache-beam", "numpy", "tensorflow-text")},
            # Of Python's own tables: what form C makes of a text's newest characters.
            "unicode": unicodedata.unidata_version,
        },
    }
