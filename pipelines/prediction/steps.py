"""The Beam steps of bulk prediction: lists of Document -> shards of answers in the order of the input.

Each list of documents goes to a block: on Beam's local runner to a file beside the output, elsewhere through the
runner's shuffle. When all parts are counted, every document has a number, and a shard holds the next so many of them.
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from backports import zstd

from pipelines.prediction.answers import encoded, schema_of
from pipelines.prediction.description import Description, shard_count, shard_name
from pipelines.prediction.examples import Example, example_of
from pipelines.prediction.saved_model import Answered, Asked
from pipelines.reading.accounts import Reading
from pipelines.reading.outcomes import BadRecord, Document
from pipelines.running import files
from pipelines.running.bundles import at_bundle_end
from pipelines.running.worker_errors import sent_to_launcher
from pipelines.writing import output_folder
from pipelines.writing.exchange import Place, decompressed, spilled

_BYTES_AT_ONCE = 32 << 20  # of text held by one worker before it goes to a file
_LEVEL = 1
_LISTED = 1_000  # failures of a shard, at most; all are counted

PartKey = tuple[str, int]  # path and first byte of a part: sorted, the order of the input


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Everything that the bytes of the answers depend on, except the input and the model.

    Attributes:
      form: one of answers.FORMATS.
      examples_per_shard: answers of a shard; the last one may have fewer.
      batch_size: examples that the model computes together.
      keep_inputs: whether an answer carries the texts that were asked.
      keep: columns of the input that it carries too.
    """

    form: str = "jsonl"
    examples_per_shard: int = 10_000
    batch_size: int = 64
    keep_inputs: bool = True
    keep: tuple[str, ...] = ()


class Slice(NamedTuple):
    """Documents [begin, end) of a block; `number` counts the documents of the whole input before the block."""

    number: int
    begin: int
    end: int
    path: str
    start: int
    first: int
    block: bytes | Place


class ToBlocks(beam.DoFn):
    """Lists of Document -> (their place and number, Block); "counts": (part, documents).

    Args:
      folder: where the blocks go; None if they cross the shuffle themselves.
    """

    def __init__(self, folder: str | None):
        self._folder = folder

    def start_bundle(self):
        self._blocks: list[tuple[tuple, bytes]] = []
        self._size = 0

    def process(self, documents: list[Document]) -> Iterator[Any]:
        texts = [document.text for document in documents]
        data = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
        first = documents[0]
        self._blocks.append(((first.file, first.part, first.number, len(documents)), zstd.compress(data, _LEVEL)))
        self._size += len(data)
        yield beam.pvalue.TaggedOutput("counts", ((first.file, first.part), len(documents)))
        if self._size > _BYTES_AT_ONCE:
            yield from self._flush()

    def finish_bundle(self):
        for element in self._flush():
            yield at_bundle_end(element)

    def _flush(self) -> Iterator[tuple[tuple, bytes | Place]]:
        blocks, size = self._blocks, self._size
        self.start_bundle()
        yield from spilled(self._folder, blocks, sum(key[3] for key, _ in blocks), size)


class ToShards(beam.DoFn):
    """(place and number of documents, Block) -> (shard, Slice) for the shards that are not finished.

    Side inputs: the documents of each part, and what was read, so that no answer is made of input that is refused.
    """

    def __init__(self, config: AnswerConfig, kept: Iterable[str]):
        self._config, self._kept = config, frozenset(kept)

    def start_bundle(self):
        self._offsets: dict[PartKey, int] | None = None
        self._total = 0

    def process(
        self, element: tuple[tuple, bytes | Place], counts: Mapping[PartKey, int], reading: Reading
    ) -> Iterator[tuple[int, Slice]]:
        (path, start, first, count), block = element
        if self._offsets is None:
            self._offsets = {}
            for (name, begin), documents in sorted(counts.items()):
                self._offsets[name, begin] = self._total
                self._total += documents
        size = self._config.examples_per_shard
        number = self._offsets[path, start] + first
        for shard in range(number // size, (number + count - 1) // size + 1):
            if shard_name(shard, shard_count(self._total, size), self._config.form) not in self._kept:
                begin, end = max(0, shard * size - number), min(count, (shard + 1) * size - number)
                yield shard, Slice(number, begin, end, path, start, first, block)


class ReadShard(beam.DoFn):
    """(shard, its slices) -> [Asked], a batch of RunInference."""

    def process(self, element: tuple[int, Iterable[Slice]]) -> Iterator[list[Asked]]:
        shard, slices = element
        examples: list[Example] = []
        origins: list[tuple[str, int, int, int]] = []
        with sent_to_launcher():
            for piece in sorted((Slice(*piece) for piece in slices), key=lambda piece: piece.number):
                documents = json.loads(decompressed(piece.block))[piece.begin : piece.end]
                examples += map(example_of, documents)
                origins.append((piece.path, piece.start, piece.first + piece.begin, len(documents)))
        yield [Asked(shard, examples, origins)]


class WriteShard(beam.DoFn):
    """Answered -> the entry of the shard in dataset.json, after the shard is written."""

    def __init__(self, output: str, description: Description, config: AnswerConfig):
        self._output, self._description, self._config = output, description, config

    def process(self, answered: Answered, counts: Mapping[PartKey, int]) -> Iterator[dict]:
        config, signatures = self._config, self._description.signatures
        total = shard_count(sum(counts.values()), config.examples_per_shard)
        name = shard_name(answered.asked.shard, total, config.form)
        rows: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        places = _places(answered.asked.origins)
        for example, answer, place in zip(answered.asked.examples, answered.answers, places, strict=True):
            if isinstance(answer, str):
                size = sum(len(str(value).encode()) for value in example.inputs.values())
                failed.append(BadRecord(*place, answer, size)._asdict())
            else:
                rows.append((example.inputs if config.keep_inputs else {}) | example.kept | answer)
        data = encoded(rows, config.form, schema_of(signatures, config.keep, config.keep_inputs))
        with sent_to_launcher():
            files.write_bytes(files.join(self._output, name), data)
            info = {
                "name": name,
                "examples": len(rows),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "failures": len(failed),
                "failed": failed[:_LISTED],
            }
            output_folder.mark_finished(self._output, info)
        Metrics.counter("bulk_prediction", "answers").inc(len(rows))
        Metrics.counter("bulk_prediction", "failures").inc(len(failed))
        yield info


def _places(origins: Iterable[tuple]) -> Iterator[tuple[str, str, int]]:
    """(path, unit, position) of each document."""
    for path, start, first, count in origins:
        unit = f"document behind byte {start:,}" if start else "document"
        yield from ((path, unit, number) for number in range(first + 1, first + count + 1))


def counted(infos: Iterable[dict]) -> dict[str, int]:
    """Sums over shards."""
    total: collections.Counter = collections.Counter()
    for info in infos:
        total.update(answers=info["examples"], failures=info["failures"], bytes=info["bytes"])
    return {name: total[name] for name in ("answers", "failures", "bytes")}
