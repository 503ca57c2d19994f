"""Bulk prediction from its checks to its result; its Beam steps are in pipelines/prediction/steps.py."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import time

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from bert_tf.core import records
from bert_tf.core.errors import InputError, StorageError, require
from pipelines.prediction.answers import FORMATS, check_columns
from pipelines.prediction.description import describe, shard_count
from pipelines.prediction.examples import ExampleFields
from pipelines.prediction.progress import AnswerProgress
from pipelines.prediction.saved_model import SavedModelHandler
from pipelines.prediction.steps import AnswerConfig, ReadShard, ToBlocks, ToShards, WriteShard, counted
from pipelines.reading.accounts import Reading
from pipelines.reading.inputs import InputFile, match_files
from pipelines.reading.readers import Format
from pipelines.reading.reading import ReadDocuments, check_fractions
from pipelines.running import files
from pipelines.running.options import is_local, local_options
from pipelines.running.pipeline import running
from pipelines.running.worker_errors import sent_to_launcher
from pipelines.writing import output_folder
from pipelines.writing.shards import write_manifest

_FLAG = "--output"
_LINE_FORMAT = Format(document_per="line")


def predict(
    *,
    model: str,
    input_patterns: list[str],
    output: str,
    config: AnswerConfig = AnswerConfig(),  # noqa: B008 - frozen
    file_format: Format = _LINE_FORMAT,
    text_field: str | None = None,
    second_text_field: str | None = None,
    max_bad_fraction: float = 0.01,
    max_lost_fraction: float = 0.0,
    overwrite: bool = False,
    beam_arguments: list[str] | None = None,
) -> dict:
    """Answers all examples of some files with a SavedModel, writes shards of answers and returns dataset.json.

    A complete folder of the same command is left as it is. After a killed job, finished shards are checked and kept.

    Args:
      model: the folder of a version that bert_tf.export wrote.
      input_patterns: globs; see match_files.
      output: folder for the answers.
      config: what is written.
      file_format: how plain text is divided, and its encoding.
      text_field, second_text_field: columns that are not those of the fine-tuning.
      max_bad_fraction: more bad records, or more examples that the model fails on, than this share fail the job.
      max_lost_fraction: see create_pretraining_data.
      overwrite: replace a folder that another command made.
      beam_arguments: Beam's own options, such as --runner.

    Raises:
      InputError: wrong input, model or parameters, or a folder made with other ones.
    """
    started = time.time()
    options = local_options(beam_arguments or [])
    check_fractions(max_bad_fraction, max_lost_fraction)
    _check(config)
    description = describe(model, {"text_field": text_field, "second_text_field": second_text_field})
    check_columns(description.signatures, config.keep, config.keep_inputs)
    inputs = match_files(input_patterns)
    fields = ExampleFields(description.signatures, config.keep)
    manifest = {
        "format": 1,  # incremented when the same parameters make other bytes
        "parameters": {
            **dataclasses.asdict(config),
            "reading": dataclasses.asdict(file_format),
            "fields": fields.names,
        },
        "model": {"path": model, "task": description.task, "sha256": description.sha256},
        "input": _listing(input_patterns, inputs),
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "tensorflow-text", "pyarrow")},
    }
    manifest = json.loads(json.dumps(manifest))  # as it is read back
    complete, kept = output_folder.reusable(output, manifest, overwrite, _FLAG)
    if complete:
        return output_folder.finished_before(output, complete, max_lost_fraction, max_bad_fraction)
    output_folder.begin(output, manifest, kept, _FLAG)
    if kept:
        print(f"Resuming: {len(kept)} shards are finished and intact.", flush=True)
    exchange = files.join(output, records.EXCHANGE)
    try:
        with AnswerProgress(output, kept=kept, per_shard=config.examples_per_shard), running(options) as root:
            documents, reading = root | "ReadExamples" >> ReadDocuments(
                inputs,
                file_format,
                max_bad_fraction=max_bad_fraction,
                max_lost_fraction=max_lost_fraction,
                dead_letter=files.join(output, records.DEAD_LETTER),
                fields=fields,
            )
            # Beam's local runner would hold all text in memory; a service shuffles it.
            blocks = documents | "ToBlocks" >> beam.ParDo(
                ToBlocks(exchange if is_local(options) else None)
            ).with_outputs("counts", main="blocks")
            counts = beam.pvalue.AsDict(blocks.counts | "CountParts" >> beam.CombinePerKey(sum))
            done = beam.pvalue.AsSingleton(reading)
            made = (
                blocks.blocks
                | "ToShards" >> beam.ParDo(ToShards(config, [info["name"] for info in kept]), counts, done)
                | "GroupShards" >> beam.GroupByKey()
                | "ReadShard" >> beam.ParDo(ReadShard())
                | "Answer" >> RunInference(SavedModelHandler(description, config.batch_size))
                | "WriteShard" >> beam.ParDo(WriteShard(output, description, config), counts)
            )
            _ = (
                (made, root | "KeptShards" >> beam.Create(kept))
                | "AllShards" >> beam.Flatten()
                | "CollectShards" >> beam.combiners.ToList()
                | "Finish" >> beam.ParDo(Finish(output, config, manifest, started, max_bad_fraction), done)
            )
    except Exception as error:
        output_folder.remove_exchange(output)
        # Answers are dear: only a job that has none yet is cleared, so that the same command can use them.
        is_wrong = isinstance(error, InputError) and not isinstance(error, StorageError)
        if is_wrong and not files.names(files.join(output, records.PROGRESS)):
            output_folder.clear(output, {records.DEAD_LETTER})
        raise
    output_folder.remove_work_files(output)
    return output_folder.read_json(output, records.MANIFEST)


def _check(config: AnswerConfig) -> None:
    require(config.form in FORMATS, f"--format must be one of {FORMATS}", config.form)
    require(config.examples_per_shard >= 1, "--examples_per_shard must be at least 1", config.examples_per_shard)
    require(config.batch_size >= 1, "--batch_size must be at least 1", config.batch_size)


def _listing(patterns: list[str], inputs: list[InputFile]) -> dict:
    listing = repr([(file.path, file.bytes, file.modified) for file in inputs])
    return {
        "patterns": patterns,
        "files": len(inputs),
        "bytes": sum(file.bytes for file in inputs),
        "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }


class Finish(beam.DoFn):
    """The entries of all shards -> dead_letter.jsonl, dataset.json and COMPLETED."""

    def __init__(self, output: str, config: AnswerConfig, manifest: dict, started: float, max_bad_fraction: float):
        self._output, self._config, self._manifest, self._started = output, config, manifest, started
        self._max_bad_fraction = max_bad_fraction

    @sent_to_launcher()
    def process(self, shard_infos: list[dict], reading: Reading) -> list[dict]:
        infos = sorted(shard_infos, key=lambda info: info["name"])
        reading = Reading(*reading)
        counts = {"examples": reading.documents, "bad_records": reading.bad, **counted(infos)}
        if not reading.documents:
            raise InputError("--input: expected at least one text. Received none.")
        if shard_count(reading.documents, self._config.examples_per_shard) != len(infos):
            raise StorageError(
                f"{_FLAG} {self._output}: expected {reading.documents} examples as at the start of the job. The input "
                "was changed while it was read; --overwrite starts over."
            )
        self._list_failures([place for info in infos for place in info["failed"]])
        if counts["failures"] > self._max_bad_fraction * reading.documents:
            first = next(place for info in infos for place in info["failed"])
            share = math.ceil(counts["failures"] / reading.documents * 1000) / 1000
            raise InputError(
                f"--input: expected at most {self._max_bad_fraction:.2%} of examples that the model fails on "
                f"(--max_bad_fraction). Received {counts['failures']:,} of {reading.documents:,}, the first at "
                f"{first['path']}, {first['unit']} {first['position']}: {first['reason']}. The answers of the others "
                f"are kept; the same command with --max_bad_fraction={share:g} finishes the job."
            )
        manifest = {
            **self._manifest,
            "reading": reading.as_dict(),
            "counts": counts,
            "seconds": round(time.time() - self._started, 1),
            "shards": infos,
        }
        write_manifest(self._output, manifest)
        return [manifest]

    def _list_failures(self, failed: list[dict]) -> None:
        """Writes them behind the records that could not be read."""
        path = files.join(self._output, records.DEAD_LETTER)
        before = [line for line in (files.read_bytes(path) or b"").splitlines() if b'"unit": "document' not in line]
        lines = [json.dumps(place, ensure_ascii=False).encode() for place in failed]
        if failed:
            files.write_bytes(path, b"".join(line + b"\n" for line in (*before, *lines)))
