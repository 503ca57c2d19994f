"""Word counts -> a WordPiece vocabulary."""

import collections
from collections.abc import Iterator, Mapping

import apache_beam as beam

from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.filtering.cleaning import clean
from pipelines.reading.inputs import match_files
from pipelines.reading.readers import DEFAULT_FORMAT, Format
from pipelines.reading.reading import ReadDocuments
from pipelines.running import files
from pipelines.running.options import local_options
from pipelines.running.pipeline import running
from pipelines.running.worker_errors import sent_to_launcher

_MAX_WORD_LENGTH = 100  # characters; longer words are [UNK] to the tokenizer
_MAX_CHARACTERS = 1000  # keeps rare scripts from filling a vocabulary with single characters
_MAX_TRAINING_WORDS = 50_000_000  # above it counts are scaled down; the learner reads words, not counts
_CONTINUATION = 0xF0000  # first code point of plane 15, which is private use


def learn_vocabulary(
    word_counts: Mapping[str, int], vocab_size: int, *, unused_slots: int = 0, min_frequency: int = 2
) -> Vocabulary:
    """Learns exactly `vocab_size` tokens: specials, unused slots, characters in both forms, then merged pieces.

    The learner is byte-pair merging from Hugging Face `tokenizers`, in Rust. Its WordPiece trainer gives other tokens
    on every run, since "##x" characters get their ids in the order of a randomized hash map and ties between pairs are
    broken by id. So a character inside a word is written as its own private-use code point, which makes plain
    byte-pair training, whose alphabet is sorted, learn the same thing every time.

    Raises:
      InputError: the words do not hold as many different pieces.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    characters: collections.Counter = collections.Counter()
    for word, count in word_counts.items():
        for character in word:
            if ord(character) < _CONTINUATION:
                characters[character] += count
    room = min(_MAX_CHARACTERS, max(40, (vocab_size - unused_slots) // 10))
    kept = sorted(sorted(characters, key=lambda c: (-characters[c], c))[:room])
    inner = {character: chr(_CONTINUATION + index) for index, character in enumerate(kept)}
    outer = {coded: character for character, coded in inner.items()}

    words = sorted(
        (word for word in word_counts if len(word) <= _MAX_WORD_LENGTH and all(c in inner for c in word)),
        key=lambda word: (-word_counts[word], word),
    )
    scale = max(1, sum(word_counts[word] for word in words) // _MAX_TRAINING_WORDS)

    def training_text() -> Iterator[str]:
        for word in words:
            coded = word[0] + "".join(inner[c] for c in word[1:]) + " "
            yield coded * max(1, word_counts[word] // scale)

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    reserved = (*SPECIAL_TOKENS, *(f"[unused{index}]" for index in range(unused_slots)))
    size = vocab_size - len(reserved)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_frequency, initial_alphabet=[*kept, *outer], show_progress=False
    )
    learner.train_from_iterator(training_text(), trainer)
    pieces = learner.get_vocab()
    if len(pieces) != size:
        raise InputError(
            f"--vocab_size {vocab_size}: expected at most {len(pieces) + len(reserved)}, which is all that "
            f"{len(words)} different words hold. Give more text or a smaller size."
        )
    decoded = []
    for piece in sorted(pieces, key=pieces.__getitem__):
        prefix = "##" if piece[0] in outer else ""
        decoded.append(prefix + "".join(outer.get(c, c) for c in piece))
    return Vocabulary((*reserved, *decoded))


class CountWords(beam.DoFn):
    """Batches of documents -> (word, count), counted per batch so that little crosses to the next step."""

    def __init__(self, lower_case: bool):
        self._lower_case = lower_case

    def setup(self):
        import tensorflow as tf

        from bert_tf.text.words import split_words

        self._split = tf.function(
            lambda texts: split_words(texts, lower_case=self._lower_case).flat_values,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def process(self, texts: list[str]) -> Iterator[tuple[str, int]]:
        # Cleaned as for shards, so that both see the same words.
        words = collections.Counter(self._split([clean(text) for text in texts]).numpy().tolist())
        for word, count in words.items():
            yield word.decode("utf-8"), count


def build_vocab(
    *,
    input_patterns: list[str],
    output: str,
    vocab_size: int,
    lower_case: bool = True,
    unused_slots: int = 0,
    file_format: Format = DEFAULT_FORMAT,
    max_bad_fraction: float = 0.01,
    beam_arguments: list[str] | None = None,
) -> Vocabulary:
    """Counts the words of a corpus with Beam, learns a vocabulary and writes it to `output`.

    Raises:
      InputError: wrong options, too little text, or more bad records than `max_bad_fraction` of all.
    """
    options = local_options(beam_arguments or [])
    inputs = match_files(input_patterns)
    files.check_writable(output)
    with running(options) as root:
        documents, reading = root | "ReadDocuments" >> ReadDocuments(
            [part for file in inputs for part in file.parts()], file_format, max_bad_fraction=max_bad_fraction
        )
        _ = (
            documents
            | "CountWords" >> beam.ParDo(CountWords(lower_case))
            | "SumCounts" >> beam.CombinePerKey(sum)
            | "CollectCounts" >> beam.combiners.ToDict()
            | "WriteVocabulary"
            >> beam.Map(_write_vocabulary, beam.pvalue.AsSingleton(reading), vocab_size, unused_slots, output)
        )
    return Vocabulary.parse(files.read_bytes(output) or b"", output)


@sent_to_launcher()
def _write_vocabulary(
    word_counts: dict[str, int], reading: dict[str, int], vocab_size: int, unused_slots: int, output: str
) -> None:
    """The step waits for `reading`, so that nothing is written if too many records are bad."""
    if not word_counts:
        raise InputError("--input: expected text. Received files without a single word.")
    files.write_bytes(output, learn_vocabulary(word_counts, vocab_size, unused_slots=unused_slots).serialize())
