"""Documents -> the frequency of each word, in memory that does not grow with the number of different words.

A worker counts until it holds half a million different words. It then sends its counts to buckets, which a hash of the
word selects (see pipelines/writing/exchange.py). One worker adds up each bucket and writes it to a file.
"""

import collections
import dataclasses
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping

import apache_beam as beam
import numpy as np
from backports import zstd

from bert_tf.text.tokenizer_config import TokenizerConfig
from pipelines.filtering.cleaning import clean
from pipelines.reading.outcomes import Document
from pipelines.running import files
from pipelines.running.bundles import at_bundle_end
from pipelines.running.tensorflow import load_tensorflow
from pipelines.running.worker_errors import sent_to_launcher
from pipelines.writing.exchange import Place, decompressed, write_blocks

_WORDS_AT_ONCE = 500_000  # different ones held by one worker before they go out; about 80 MB
_TEXT_A_BUCKET = 8e6  # bytes; one million different words at most
_MAX_BUCKETS = 256  # of a terabyte of text, a bucket has some million different words
_LEVEL = 1
_HEADER = struct.Struct("<Q")


@dataclasses.dataclass(frozen=True)
class WordCounts:
    """Different words and how often each comes.

    Attributes:
      text: the words in UTF-8, each with a line end, which no word holds.
      counts: int64 [words].
    """

    text: bytes
    counts: np.ndarray

    @classmethod
    def of(cls, counts: Mapping[bytes, int]) -> "WordCounts":
        return cls(b"".join(word + b"\n" for word in counts), np.fromiter(counts.values(), np.int64, len(counts)))

    @classmethod
    def read(cls, block: bytes | Place) -> "WordCounts":
        """What `compressed` made."""
        data = decompressed(block)
        (count,) = _HEADER.unpack_from(data)
        end = _HEADER.size + 8 * count
        return cls(data[end:], np.frombuffer(data[_HEADER.size : end], "<i8"))

    def compressed(self) -> bytes:
        return zstd.compress(_HEADER.pack(len(self.counts)) + self.counts.astype("<i8").tobytes() + self.text, _LEVEL)

    def words(self) -> list[bytes]:
        return self.text.split(b"\n")[:-1]

    def lengths(self) -> np.ndarray:
        """Characters of each word, int64 [words]."""
        _, word, _ = self.characters()
        return np.bincount(word, minlength=len(self.counts))

    def characters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each character of the words its code point uint32, its word int32, and whether it begins the word."""
        codes = np.frombuffer(self.text.decode("utf-8").encode("utf-32-le"), "<u4")
        is_end = codes == ord("\n")
        begins = np.concatenate([[True], is_end[:-1]])[: len(codes)]
        return codes[~is_end], np.cumsum(is_end, dtype=np.int32)[~is_end], begins[~is_end]


def bucket_count(text_bytes: float) -> int:
    """The number of buckets for an input of some size."""
    return min(_MAX_BUCKETS, 1 + int(text_bytes / _TEXT_A_BUCKET))


class CountWords(beam.DoFn):
    """Lists of Document -> (bucket, block of WordCounts); "too_long": the numbers of too long words.

    Args:
      tokenizer: how the tokenizer that the vocabulary is for will see the text.
      buckets: their number.
      folder: where the blocks go; None if they cross the GroupByKey themselves.
    """

    def __init__(self, tokenizer: TokenizerConfig, buckets: int, folder: str | None):
        self._tokenizer, self._buckets, self._folder = tokenizer, buckets, folder

    def setup(self):
        load_tensorflow()
        import tensorflow as tf

        from bert_tf.text.words import split_words

        config = self._tokenizer

        def split(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            words = split_words(
                texts, lower_case=config.lower_case, strip_accents=config.strip_accents, split_cjk=config.split_cjk
            ).flat_values
            lengths = tf.strings.length(words, unit="UTF8_CHAR")
            is_long = lengths > config.max_word_length  # [UNK] to the tokenizer
            return tf.boolean_mask(words, ~is_long), tf.boolean_mask(lengths, is_long)

        self._split = tf.function(split, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def start_bundle(self):
        self._counts: collections.Counter = collections.Counter()
        self._too_long: collections.Counter = collections.Counter(words=0, characters=0)

    def process(self, documents: list[Document]) -> Iterator[tuple[str, bytes | Place]]:
        # Cleaned as for shards, so that both see the same words.
        words, too_long = self._split([clean(document.text) for document in documents])
        self._counts.update(words.numpy().tolist())
        self._too_long.update(words=len(too_long), characters=int(too_long.numpy().sum()))
        if len(self._counts) > _WORDS_AT_ONCE:
            yield from self._flush()

    def finish_bundle(self):
        for element in self._flush():
            yield at_bundle_end(element)
        yield beam.pvalue.TaggedOutput("too_long", at_bundle_end(dict(self._too_long)))

    def _flush(self) -> Iterator[tuple[str, bytes | Place]]:
        buckets: collections.defaultdict[int, dict[bytes, int]] = collections.defaultdict(dict)
        for word, count in self._counts.items():
            buckets[zlib.crc32(word) % self._buckets][word] = count
        self._counts.clear()
        blocks = [(str(bucket), WordCounts.of(counts).compressed()) for bucket, counts in buckets.items()]
        if self._folder is None or not blocks:
            yield from blocks
            return
        with sent_to_launcher():
            # Each attempt writes to a new file name, so files of a failed attempt are never read.
            yield from write_blocks(files.join(self._folder, uuid.uuid4().hex), blocks)


class MergeCounts(beam.DoFn):
    """(bucket, its blocks) -> the place of their sum in a file of `folder`."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, element: tuple[str, Iterable[bytes | Place]]) -> Iterator[Place]:
        bucket, blocks = element
        total: collections.defaultdict[bytes, int] = collections.defaultdict(int)
        with sent_to_launcher():
            for block in blocks:
                found = WordCounts.read(block)
                for word, count in zip(found.words(), found.counts.tolist(), strict=True):
                    total[word] += count
            path = files.join(self._folder, uuid.uuid4().hex)
            [(_, place)] = write_blocks(path, [(bucket, WordCounts.of(total).compressed())])
        yield place


class WordCountFiles:
    """The blocks at some places, read anew in every iteration, one at a time."""

    def __init__(self, places: Iterable[Place]):
        self._places = list(places)

    def __iter__(self) -> Iterator[WordCounts]:
        return (WordCounts.read(Place(*place)) for place in self._places)
