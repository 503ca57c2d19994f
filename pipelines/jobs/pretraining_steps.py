"""The Beam steps of the job: documents -> pools -> shards, with one GroupByKey.

Each document goes, by a hash of (seed, pass, document id), to one of the pools, and a pool becomes one shard. So the
bytes of a shard depend on the input and the seed alone, not on runner, workers or the order of the files.
"""

import collections
import gc
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from bert_tf.core.errors import InputError
from bert_tf.core.provenance import Origin
from bert_tf.text.tokenizer import tokenizer_kind
from bert_tf.text.vocabulary import Vocabulary
from pipelines.filtering import contamination, deciders
from pipelines.filtering.cleaning import DocumentConfig, prepare
from pipelines.filtering.deciders import Decider
from pipelines.filtering.duplicates import FindDuplicates, duplicates_by_document, without_duplicates
from pipelines.instances.pool import make_records
from pipelines.jobs.job import JobConfig, WantedPools
from pipelines.reading.accounts import Reading
from pipelines.reading.documents import document_id
from pipelines.reading.outcomes import Document
from pipelines.running.bundles import at_bundle_end
from pipelines.running.tensorflow import load_tensorflow
from pipelines.running.worker_errors import sent_to_launcher
from pipelines.writing import data_card, output_folder, provenance, shards
from pipelines.writing.exchange import Block, Duplicates, PoolInput, ToBlocks, origin_order, read_blocks
from pipelines.writing.quality import shares, warnings
from pipelines.writing.report import DROPPED_BY_FILTER


class PrepareDocuments(beam.DoFn):
    """Lists of Document -> lists of cleaned and filtered ones; "counts": {reason: number of dropped ones}."""

    def __init__(self, config: DocumentConfig):
        self._config = config

    def start_bundle(self):
        self._counts: collections.Counter = collections.Counter()

    def process(self, documents: list[Document]) -> Iterator[list[Document]]:
        prepared = ((document, prepare(document.text, self._config, self._counts)) for document in documents)
        yield [document._replace(text=text) for document, text in prepared if text is not None]

    def finish_bundle(self):
        # Elements and not Beam's metrics, which count a bundle again if a runner retries it.
        yield beam.pvalue.TaggedOutput("counts", at_bundle_end(dict(self._counts)))


class FilterDocuments(beam.DoFn):
    """Lists of Document -> lists of those that stay; "counts": {reason: number of dropped ones}.

    Args:
      excluded: file of the n-grams that `Excluded.write` wrote, and their number of words; None for none.
      deciders: in their order; a document that one of them drops is not shown to those behind it.
    """

    def __init__(self, excluded: tuple[str, int] | None, deciders: Sequence[Decider]):
        self._excluded, self._deciders = excluded, deciders

    @sent_to_launcher()
    def setup(self):
        self._hashes = contamination.load(self._excluded[0]) if self._excluded else None
        self._decide = [deciders.load(decider) for decider in self._deciders]

    def start_bundle(self):
        self._counts: collections.Counter = collections.Counter()

    def process(self, documents: list[Document]) -> Iterator[list[Document]]:
        with sent_to_launcher():
            if self._excluded:
                ngram = self._excluded[1]
                clean = [one for one in documents if not contamination.is_contaminated(one.text, ngram, self._hashes)]
                self._counts["dropped_contaminated"] += len(documents) - len(clean)
                documents = clean
            for number, decide in enumerate(self._decide, start=1):
                stays = decide([document.text for document in documents]) if documents else []
                kept = [document for document, is_kept in zip(documents, stays, strict=True) if is_kept]
                self._counts[f"{DROPPED_BY_FILTER}{number}"] += len(documents) - len(kept)
                documents = kept
        yield documents

    def finish_bundle(self):
        yield beam.pvalue.TaggedOutput("counts", at_bundle_end(dict(self._counts)))


class MakeShards(beam.PTransform):
    """Lists of Document -> the entry of each shard in dataset.json, including the shards to keep."""

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
        duplicates = (
            documents
            | "Texts" >> beam.Map(lambda some: [document.text for document in some])
            | "FindDuplicates" >> FindDuplicates(config.documents, pools.of_id, self._text_bytes)
            | "AsDuplicates" >> beam.MapTuple(lambda name, data: (name, Duplicates(data)))
        )
        # An element without a block for each pool, so that exactly num_shards files are written.
        empty = root | "AllPools" >> beam.Create([(name, None) for name in remaining])
        made = (
            (blocks, duplicates, empty)
            | "WithEmptyPools" >> beam.Flatten()
            | "GroupPools" >> beam.GroupByKey()
            | "MakeShard" >> beam.ParDo(MakeShard(self._output_dir, self._vocabulary, config))
        )
        return (made, root | "KeptShards" >> beam.Create(self._kept)) | "AllShards" >> beam.Flatten()


class MakeShard(beam.DoFn):
    """(shard name, its blocks) -> the entry of the shard in dataset.json, after the shard is written."""

    def __init__(self, output_dir: str, vocabulary: Vocabulary, config: JobConfig):
        self._output_dir, self._vocabulary, self._config = output_dir, vocabulary, config

    def setup(self):
        # TensorFlow is loaded here and not at import: only workers that make shards pay for it.
        load_tensorflow()
        instances = self._config.instances
        self._tokenizer = tokenizer_kind(instances.tokenizer).make(self._vocabulary, instances.tokenizer_config)

    def process(self, element: tuple[str, Iterable[Block | None]]) -> Iterator[dict]:
        # A pool makes millions of objects and no cycles: the search for cycles takes a tenth of the time.
        gc.disable()
        try:
            with sent_to_launcher():
                info = self._make(*element)
        finally:
            gc.enable()
        yield info

    def _make(self, name: str, blocks: Iterable[Block | None]) -> dict:
        counts: collections.Counter = collections.Counter()
        config = self._config.documents
        found = read_blocks((block for block in blocks if block is not None), copies=not config.deduplicate)
        documents = pool_documents(found, config, counts)
        batches, made_of = make_records(name, documents, self._tokenizer, self._config.instances, counts)
        written = shards.write_shard(self._output_dir, name, batches, self._config.compression)
        written["provenance"] = provenance.write(self._output_dir, name, made_of)
        for counter, value in counts.items():
            Metrics.counter("pretraining_data", counter).inc(value)
        info = {**written, "counts": dict(counts)}
        output_folder.mark_finished(self._output_dir, info)
        return info


def pool_documents(
    found: PoolInput, config: DocumentConfig, counts: collections.Counter
) -> Iterator[tuple[bytes, str, Origin]]:
    """Yields (order key, text, origin) without duplicates. Empties `found`, to free its memory step by step."""
    duplicates = duplicates_by_document(found.duplicates)
    while found.documents:
        key, text = found.documents.popitem()
        times = 1 + found.again[key]
        origins = sorted(found.origins.pop(key), key=origin_order)
        if config.deduplicate:
            counts["dropped_duplicates"] += times - 1
            times = 1
        if duplicates and (lost := duplicates.get(document_id(text))):
            text = without_duplicates(text, lost)
            if text is None:
                counts["dropped_near_duplicates"] += times
                continue
            counts["lines_of_other_documents"] += len(lost) * times
            if not text or len(text) < config.min_characters:
                counts["dropped_short" if text else "dropped_empty"] += times
                continue
        yield key, text, origins[0]
        for number in range(1, times):
            copy = hashlib.blake2b(key, salt=number.to_bytes(8), digest_size=16).digest()
            yield copy, text, origins[number]


class FinishDataset(beam.DoFn):
    """The entries of all shards -> TFDS' files, dataset.json and COMPLETED."""

    def __init__(self, output_dir: str, config: JobConfig, manifest: dict, started: float):
        self._output_dir, self._config, self._manifest, self._started = output_dir, config, manifest, started

    @sent_to_launcher()
    def process(self, shard_infos: list[dict], reading: Reading, prepared: list[dict[str, int]]) -> list[dict]:
        infos = sorted(shard_infos, key=lambda info: info["name"])
        reading = Reading(*reading)
        total = collections.Counter(documents_read=reading.documents, bad_records=reading.bad)
        for counts in (*prepared, *(info["counts"] for info in infos)):
            total.update(counts)
        manifest = {
            **self._manifest,
            "reading": reading.as_dict(),
            "counts": dict(sorted(total.items())),
            "shares": shares(total, self._config.instances.layout),
            "seconds": round(time.time() - self._started, 1),
            "shards": infos,
        }
        manifest["warnings"] = warnings(manifest)
        if not any(info["examples"] for info in infos):
            raise InputError(
                "--input: expected text for at least one instance. Received "
                f"{total['documents_read']} documents that make none (a pair takes two tokens)."
            )
        if self._config.compression == "none":  # TFDS reads no compressed records
            shards.write_tfds_metadata(self._output_dir, self._config.instances.layout, infos)
        data_card.write(self._output_dir, manifest)
        shards.write_manifest(self._output_dir, manifest)
        return [manifest]
