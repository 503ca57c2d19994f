"""The job from its checks to its result; its Beam steps are in pretraining_steps.py."""

import dataclasses
import hashlib
import importlib.metadata
import os
import sys
import time
import unicodedata
from collections.abc import Sequence

import apache_beam as beam

from bert_tf.core import records
from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores import objects
from bert_tf.core.stores.cache import local_folder
from bert_tf.text.tokenizer import tokenizer_kind
from bert_tf.text.vocabulary import Vocabulary
from pipelines.filtering.contamination import Excluded
from pipelines.filtering.deciders import Decider
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig, settle_shards
from pipelines.jobs.pretraining_steps import FilterDocuments, FinishDataset, MakeShards, PrepareDocuments
from pipelines.reading.inputs import InputFile, match_files
from pipelines.reading.reading import ReadDocuments, check_fractions
from pipelines.running import files
from pipelines.running.options import is_local, local_options
from pipelines.running.pipeline import running
from pipelines.writing import output_folder
from pipelines.writing.progress import Progress

_VERSIONED = ("apache-beam", "numpy", "pyarrow", "tensorflow-text")  # what the bytes of the output may depend on


def create_pretraining_data(
    *,
    input_patterns: list[str],
    vocab: str,
    output_dir: str,
    config: JobConfig,
    exclude: Excluded | None = None,
    filters: Sequence[Decider] = (),
    max_bad_fraction: float = 0.01,
    max_lost_fraction: float = 0.0,
    overwrite: bool = False,
    beam_arguments: list[str] | None = None,
) -> dict:
    """Makes a folder of shards and returns its dataset.json.

    A complete folder with the same parameters is left as it is. After a killed job, finished shards are checked and
    kept.

    Args:
      input_patterns: globs; see match_files.
      vocab: path of vocab.txt, or of a local folder with the tokenizer of a model, added tokens included.
      output_dir: folder for the shards.
      config: what to make.
      exclude: n-grams of evaluation texts, whose documents are dropped.
      filters: what else decides which documents stay.
      max_bad_fraction: more bad records than this share of all fail the job; they are listed in dead_letter.jsonl.
      max_lost_fraction: files that break off or give no document fail the job if they hold more of all bytes.
      overwrite: replace a folder that was made with other parameters.
      beam_arguments: Beam's own options, such as --runner.

    Raises:
      InputError: wrong input, vocabulary or parameters, or a folder made with other ones.
    """
    started = time.time()  # not monotonic: a worker on another machine computes the duration
    # All checks come before the first change of the folder.
    options = local_options(beam_arguments or [])
    check_fractions(max_bad_fraction, max_lost_fraction)
    vocabulary, rules = _read_vocabulary(vocab, config.instances)
    config = dataclasses.replace(config, instances=dataclasses.replace(config.instances, rules=rules))
    inputs = match_files(input_patterns)
    text_bytes = sum(file.text_bytes for file in inputs)
    config, warning = settle_shards(config, text_bytes)
    if warning:
        print(warning, file=sys.stderr, flush=True)
    manifest = _description(config, vocabulary, input_patterns, inputs)
    manifest["filtering"] = {
        "exclude": exclude and exclude.description(),
        "filters": [dataclasses.asdict(one) for one in filters],
    }
    complete, kept = output_folder.reusable(output_dir, manifest, overwrite)
    if complete:
        return output_folder.finished_before(output_dir, complete, max_lost_fraction, max_bad_fraction)
    output_folder.begin(output_dir, manifest, kept)
    vocabulary_path = files.join(output_dir, records.VOCABULARY)
    brought_vocabulary = files.exists(vocabulary_path)
    files.write_bytes(vocabulary_path, vocabulary.serialize())

    total = len(config.shard_names())
    if kept:
        print(f"Resuming: {len(kept)} of {total} shards are finished and intact.", flush=True)
    passes = 1 + (config.dupe_factor - 1) * (1 - config.validation_fraction)
    try:
        with (
            Progress(output_dir, total=total, kept=len(kept), text_bytes=text_bytes, passes=passes),
            running(options) as root,
        ):
            documents, reading = root | "ReadDocuments" >> ReadDocuments(
                inputs,
                config.file_format,
                max_bad_fraction=max_bad_fraction,
                max_lost_fraction=max_lost_fraction,
                dead_letter=files.join(output_dir, records.DEAD_LETTER),
            )
            prepared = documents | "PrepareDocuments" >> beam.ParDo(PrepareDocuments(config.documents)).with_outputs(
                "counts", main="documents"
            )
            counts, kept_documents = prepared.counts, prepared.documents
            if exclude or filters:
                step = FilterDocuments((exclude.write(output_dir), exclude.ngram) if exclude else None, filters)
                filtered = kept_documents | "FilterDocuments" >> beam.ParDo(step).with_outputs(
                    "counts", main="documents"
                )
                counts = (counts, filtered.counts) | "AllCounts" >> beam.Flatten()
                kept_documents = filtered.documents
            made = kept_documents | "MakeShards" >> MakeShards(
                output_dir,
                vocabulary,
                config,
                kept=kept,
                text_bytes=text_bytes,
                # Beam's local runner would hold all text in memory; a service shuffles it.
                exchange=files.join(output_dir, records.EXCHANGE) if is_local(options) else None,
            )
            _ = (
                made
                | "CollectShards" >> beam.combiners.ToList()
                | "FinishDataset"
                >> beam.ParDo(
                    FinishDataset(output_dir, config, manifest, started),
                    beam.pvalue.AsSingleton(reading),
                    beam.pvalue.AsList(counts),
                )
            )
    except Exception as error:
        output_folder.remove_exchange(output_dir)
        # The same command fails again on wrong input, so its output is removed. After other errors the job can resume.
        if isinstance(error, InputError) and not isinstance(error, StorageError):
            output_folder.clear(output_dir, {records.DEAD_LETTER})
            if not brought_vocabulary:
                files.delete([vocabulary_path])
        raise
    output_folder.remove_work_files(output_dir)
    return output_folder.read_json(output_dir, records.MANIFEST)


def _read_vocabulary(path: str, instances: InstanceConfig) -> tuple[Vocabulary, str]:
    """The vocabulary of a file, or of a model's folder, whose settings must be those of the flags; and its rules."""
    if objects.is_remote(path) and objects.below(path):
        path = local_folder(path)
    if not os.path.isdir(path):
        data = files.read_bytes(path)
        if data is None:
            raise InputError(f"--vocab {path}: expected a vocabulary file. Received: no such file.")
        return Vocabulary.parse(data, f"--vocab {path}"), instances.rules
    kind = tokenizer_kind(instances.tokenizer)
    if not kind.is_there(path):
        raise InputError(f"--vocab {path}: expected a vocabulary file, or a folder with one. Received: neither.")
    vocabulary, theirs, _ = kind.read(path)
    for flag, expected in theirs.flags().items():
        received = instances.tokenizer_config.flags()[flag]
        if expected != received:
            raise InputError(f"--{flag} must be {expected}, as --vocab {path} has it. Received: {received}.")
    return vocabulary, theirs.rules


def _description(config: JobConfig, vocabulary: Vocabulary, input_patterns: list[str], files: list[InputFile]) -> dict:
    """dataset.json before the job: everything but its results."""
    listing = repr([(file.path, file.bytes, file.modified) for file in files])
    return {
        # Incremented when the same parameters make other files. 6: sentences of all scripts, pairs that lose no token.
        # 7: provenance files beside the shards, whose own bytes are those of 6.
        "format": 7,
        "parameters": dataclasses.asdict(config),
        "input": {
            "patterns": input_patterns,
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),  # paths, sizes and times of change
        },
        "vocabulary": {
            "size": len(vocabulary),
            "sha256": vocabulary.sha256,
            **({"added_tokens": [dataclasses.asdict(token) for token in vocabulary.added]} if vocabulary.added else {}),
        },
        "layout": dataclasses.asdict(config.instances.layout),
        "versions": {
            **{name: importlib.metadata.version(name) for name in _VERSIONED},
            # Form C of the newest characters depends on Python's Unicode tables.
            "unicode": unicodedata.unidata_version,
        },
    }
