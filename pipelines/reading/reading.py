"""Reading as a Beam step: bad records and losses are listed and counted, and end the job if they are too many."""

import contextlib
import json
from collections.abc import Iterator

import apache_beam as beam

from bert_tf.core.errors import StorageError, require
from pipelines.reading.accounts import Account, Reading, add_up, check, lines_of, of_all, of_file
from pipelines.reading.formats.fields import Fields
from pipelines.reading.inputs import InputFile, Part
from pipelines.reading.outcomes import BadRecord, BytesRead, Document, Loss
from pipelines.reading.readers import Format, read_part
from pipelines.running import files
from pipelines.running.worker_errors import sent_to_launcher

_CHARACTERS_AT_ONCE = 1 << 18
_LISTED = 10_000  # bad records and losses, at most; all are counted


class ReadDocuments(beam.PTransform):
    """Files -> lists of Document, each of one part in its order, and what was read of all files; see read_part.

    Lists, since a runner has a cost for each element, and documents are small.

    Args:
      inputs: files.
      file_format: what they hold.
      max_bad_fraction: the job fails if a larger share of all records is bad, or if bad records hold a larger share of
        all bytes.
      max_lost_fraction: the job fails if files that break off or give no document hold a larger share of all bytes.
      dead_letter: JSON lines file for the bad records and losses, the first ten thousand of them; None for no file.
      report: JSON file for what was read; None for no file.
      fields: what records become; None for file_format.fields.

    Returns:
      (lists of documents, one Reading, once the limits are kept).
    """

    def __init__(
        self,
        inputs: list[InputFile],
        file_format: Format,
        *,
        max_bad_fraction: float,
        max_lost_fraction: float = 0.0,
        dead_letter: str | None = None,
        report: str | None = None,
        fields: Fields | None = None,
    ):
        super().__init__()
        check_fractions(max_bad_fraction, max_lost_fraction)
        self._inputs, self._format = inputs, file_format
        self._limits = {"max_bad_fraction": max_bad_fraction, "max_lost_fraction": max_lost_fraction}
        self._dead_letter, self._report, self._fields = dead_letter, report, fields

    def expand(self, root):
        found = (
            root
            | "Parts" >> beam.Create([part for file in self._inputs for part in file.parts()])
            # Beam's local runner (2.77) hangs if a step fails before all worker processes are connected. They are
            # connected after the first shuffle.
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadPart"
            >> beam.ParDo(_ReadPart(self._format, self._fields)).with_outputs("problems", "accounts", main="documents")
        )
        listed = root | "Files" >> beam.Create([(file.path, Account(bytes=file.bytes)) for file in self._inputs])
        reading = (
            (found.accounts, listed)
            | "WithListedFiles" >> beam.Flatten()
            | "AddUpFiles" >> beam.CombinePerKey(add_up)
            | "AccountOfFile" >> beam.MapTuple(of_file)
            | "AddUpAll" >> beam.CombineGlobally(of_all)
        )
        checked = (
            found.problems
            | "CollectProblems" >> beam.CombineGlobally(_FirstAndCount())
            | "CheckReading"
            >> beam.Map(_check, beam.pvalue.AsSingleton(reading), self._limits, self._dead_letter, self._report)
        )
        return found.documents, checked


def check_fractions(max_bad_fraction: float, max_lost_fraction: float) -> None:
    """Raises InputError for shares that are none."""
    require(0 <= max_bad_fraction <= 1, "--max_bad_fraction must lie in [0, 1]", max_bad_fraction)
    require(0 <= max_lost_fraction <= 1, "--max_lost_fraction must lie in [0, 1]", max_lost_fraction)


@contextlib.contextmanager
def reported(path: str) -> Iterator[None]:
    """Around a job that writes a report to the path: prints what is not as it should be, and removes the file."""
    try:
        yield
        for name, value in lines_of(json.loads(files.read_bytes(path) or b"")):
            print(f"{name:<24}{value}")
    except BaseException:
        with contextlib.suppress(StorageError, *files.ERRORS):  # the first error is the one to tell
            _remove(path)
        raise
    _remove(path)


def _remove(path: str) -> None:
    if files.exists(path):
        files.delete([path])


class _ReadPart(beam.DoFn):
    def __init__(self, file_format: Format, fields: Fields | None):
        self._format, self._fields = file_format, fields

    def process(self, part: Part):
        part = Part(*part)
        documents: list[Document] = []
        size = count = 0
        account = Account()
        with sent_to_launcher():
            for found in read_part(part, self._format, self._fields):
                if isinstance(found, list):
                    documents += found
                    count += len(found)
                    size += sum(len(document.text) for document in found)
                    if size > _CHARACTERS_AT_ONCE:
                        yield documents
                        documents, size = [], 0
                    continue
                account = add_up([account, _account_of(found)])
                if not isinstance(found, BytesRead):
                    yield beam.pvalue.TaggedOutput("problems", found)
        if documents:
            yield documents
        yield beam.pvalue.TaggedOutput("accounts", (part.path, account._replace(documents=count)))


def _account_of(found: BadRecord | Loss | BytesRead) -> Account:
    if isinstance(found, BytesRead):
        return Account(bytes_read=found.bytes)
    if isinstance(found, BadRecord):
        return Account(bad=1, bad_bytes=found.bytes, first_bad=found)
    return Account(losses=1, lost_bytes=found.bytes, weight=found.weight, first_loss=found)


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
def _check(
    problems: tuple[list, int], reading: Reading, limits: dict[str, float], dead_letter: str | None, report: str | None
) -> Reading:
    listed, count = problems
    where = ""
    if dead_letter and listed:
        lines = [
            json.dumps(dict(zip(BadRecord._fields, problem, strict=False)), ensure_ascii=False) for problem in listed
        ]
        files.write_bytes(dead_letter, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        where = f" {len(listed):,} of {count:,} are listed in {dead_letter}."
    elif dead_letter and files.exists(dead_letter):
        files.delete([dead_letter])  # of an earlier job
    reading = Reading(*reading)
    check(reading, **limits, where=where)
    if report:
        files.write_json(report, reading.as_dict())
    return reading
