"""Reading as a Beam step: bad records are collected, listed and counted, and a few of them do not end the job."""

import json

import apache_beam as beam

from bert_tf.core.errors import InputError, require
from pipelines.reading.inputs import BadRecord, Part
from pipelines.reading.readers import Format, read_documents
from pipelines.running import files
from pipelines.running.worker_errors import sent_to_launcher

_CHARACTERS_AT_ONCE = 1 << 18
_LISTED = 10_000  # bad records, at most; all are counted


class ReadDocuments(beam.PTransform):
    """Parts of files -> lists of documents (str), and the numbers of documents and bad records; see read_documents.

    Lists, since a runner has a cost for each element, and documents are small.

    Args:
      parts: parts of files.
      file_format: what the files hold.
      max_bad_fraction: the job fails if a larger share of all records is bad.
      dead_letter: JSON lines file for the bad records, the first ten thousand of them; None for no file.

    Returns:
      (lists of documents, one dict with "read" and "bad", the numbers of documents and of bad records).
    """

    def __init__(
        self, parts: list[Part], file_format: Format, *, max_bad_fraction: float, dead_letter: str | None = None
    ):
        super().__init__()
        require(0 <= max_bad_fraction <= 1, "--max_bad_fraction must lie in [0, 1]", max_bad_fraction)
        self._parts, self._format = parts, file_format
        self._max_bad_fraction, self._dead_letter = max_bad_fraction, dead_letter

    def expand(self, root):
        records = (
            root
            | "Parts" >> beam.Create(self._parts)
            # Beam's local runner (2.77) hangs if a step fails before all worker processes are connected. They are
            # connected after the first shuffle.
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadPart" >> beam.ParDo(_ReadPart(self._format)).with_outputs("bad", main="documents")
        )
        count = records.documents | "CountEach" >> beam.Map(len) | "CountDocuments" >> beam.CombineGlobally(sum)
        check = (
            records.bad
            | "CollectBad" >> beam.CombineGlobally(_FirstAndCount())
            | "CheckBad"
            >> beam.Map(_check_bad, beam.pvalue.AsSingleton(count), self._max_bad_fraction, self._dead_letter)
        )
        return records.documents, check


class _ReadPart(beam.DoFn):
    def __init__(self, file_format: Format):
        self._format = file_format

    def process(self, part: Part):
        texts, size = [], 0
        with sent_to_launcher():
            for record in read_documents(Part(*part), self._format):
                if isinstance(record, BadRecord):
                    yield beam.pvalue.TaggedOutput("bad", record)
                    continue
                texts.append(record)
                size += len(record)
                if size > _CHARACTERS_AT_ONCE:
                    yield texts
                    texts, size = [], 0
        if texts:
            yield texts


class _FirstAndCount(beam.CombineFn):
    """The first records by file and position, and the number of all."""

    def create_accumulator(self):
        return [], 0

    def add_input(self, accumulator, record):
        records, count = accumulator
        records.append(record)
        return self._shortened(records), count + 1

    def merge_accumulators(self, accumulators):
        merged, total = [], 0
        for records, count in accumulators:
            merged = self._shortened(merged + records)
            total += count
        return merged, total

    def _shortened(self, records):
        # Not at every call, so that each record is sorted only a few times.
        return records if len(records) <= 2 * _LISTED else sorted(records)[:_LISTED]

    def extract_output(self, accumulator):
        records, count = accumulator
        return sorted(records)[:_LISTED], count


@sent_to_launcher()
def _check_bad(
    bad: tuple[list[BadRecord], int], read: int, max_bad_fraction: float, dead_letter: str | None
) -> dict[str, int]:
    records, count = bad
    if records and dead_letter:
        lines = [json.dumps(BadRecord(*record)._asdict(), ensure_ascii=False) + "\n" for record in records]
        files.write_bytes(dead_letter, "".join(lines).encode("utf-8", "replace"))
    if count > max_bad_fraction * (count + read):
        first = BadRecord(*records[0])
        raise InputError(
            f"--input: expected at most {max_bad_fraction:.2%} of bad records (--max_bad_fraction). Received {count} "
            f"beside {read} documents, the first at {first.path}, {first.unit} {first.position}: {first.reason}."
            + (f" {len(records)} of them are listed in {dead_letter}." if dead_letter else "")
        )
    return {"read": read, "bad": count}
