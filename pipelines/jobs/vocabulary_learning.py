"""The job from raw text to a WordPiece vocabulary: words are counted with Beam, one worker learns from the counts."""

import contextlib
import dataclasses
import json
import sys

import apache_beam as beam

from bert_tf.core.errors import StorageError, require
from bert_tf.core.records import DEAD_LETTER
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary
from pipelines.jobs.vocabulary_report import VocabularyReport
from pipelines.jobs.word_counts import CountWords, MergeCounts, WordCountFiles, bucket_count
from pipelines.jobs.wordpiece_learner import LearnerConfig, learn_vocabulary
from pipelines.reading.accounts import Reading
from pipelines.reading.inputs import match_files
from pipelines.reading.readers import DEFAULT_FORMAT, Format
from pipelines.reading.reading import ReadDocuments, reported
from pipelines.running import files
from pipelines.running.options import is_local, local_options
from pipelines.running.pipeline import running
from pipelines.running.worker_errors import sent_to_launcher
from pipelines.writing import output_folder
from pipelines.writing.exchange import Place

_REPORT = "report.json"


def build_vocab(
    *,
    input_patterns: list[str],
    output: str,
    vocab_size: int,
    lower_case: bool = True,
    strip_accents: bool | None = None,
    split_cjk: bool = True,
    max_word_length: int = 100,
    unused_slots: int = 0,
    character_coverage: float = 0.9995,
    max_characters: int | None = None,
    max_words: int = 2_000_000,
    file_format: Format = DEFAULT_FORMAT,
    max_bad_fraction: float = 0.01,
    max_lost_fraction: float = 0.0,
    beam_arguments: list[str] | None = None,
) -> Vocabulary:
    """Counts the words of a corpus with Beam, learns a vocabulary, writes it to `output` and prints a summary.

    The counts are in files of the folder "OUTPUT.words" while the job runs.

    Args:
      input_patterns: globs.
      output: the file to write.
      lower_case, strip_accents, split_cjk, max_word_length: of the tokenizer that the vocabulary is for; see
        bert_tf.text.wordpiece.Tokenizer.
      vocab_size, unused_slots, character_coverage, max_characters, max_words: see LearnerConfig.
      file_format: what the files hold.
      max_bad_fraction, max_lost_fraction: see ReadDocuments.
      beam_arguments: Beam's own options, such as --runner.

    Raises:
      InputError: wrong options, too little text, or more bad records or losses than `max_bad_fraction` and
        `max_lost_fraction` allow.
    """
    require(1 <= max_word_length <= 10_000, "--max_word_length must be 1 to 10000 characters", max_word_length)
    tokenizer = TokenizerConfig(
        lower_case=lower_case, strip_accents=strip_accents, split_cjk=split_cjk, max_word_length=max_word_length
    )
    config = LearnerConfig(
        vocab_size=vocab_size,
        unused_slots=unused_slots,
        character_coverage=character_coverage,
        max_characters=max_characters,
        max_words=max_words,
        split_cjk=split_cjk,
    )
    options = local_options(beam_arguments or [])
    inputs = match_files(input_patterns)
    files.check_writable(output)
    folder = f"{output}.words"
    output_folder.remove_folder(folder)  # of a job that was killed
    losses = f"{output}.reading.json"
    try:
        with reported(losses), running(options) as root:
            documents, reading = root | "ReadDocuments" >> ReadDocuments(
                inputs,
                file_format,
                max_bad_fraction=max_bad_fraction,
                max_lost_fraction=max_lost_fraction,
                dead_letter=f"{output}.{DEAD_LETTER}",
                report=losses,
            )
            buckets = bucket_count(sum(file.text_bytes for file in inputs))
            # Beam's local runner would hold all counts in memory; a service shuffles them.
            count = CountWords(tokenizer, buckets, folder if is_local(options) else None)
            counted = documents | "CountWords" >> beam.ParDo(count).with_outputs("too_long", main="blocks")
            _ = (
                counted.blocks
                | "GroupWords" >> beam.GroupByKey()
                | "MergeCounts" >> beam.ParDo(MergeCounts(folder))
                | "CollectCounts" >> beam.combiners.ToList()
                | "LearnVocabulary"
                >> beam.Map(
                    _learn,
                    beam.pvalue.AsSingleton(reading),
                    beam.pvalue.AsList(counted.too_long),
                    config,
                    output,
                    files.join(folder, _REPORT),
                )
            )
        report = VocabularyReport(**json.loads(files.read_bytes(files.join(folder, _REPORT)) or b""))
    finally:
        with contextlib.suppress(*files.ERRORS, StorageError):
            output_folder.remove_folder(folder)
    print(report.summary(), flush=True)
    for warning in report.warnings(
        character_coverage=character_coverage, max_characters=max_characters, max_word_length=max_word_length
    ):
        print(warning, file=sys.stderr, flush=True)
    return Vocabulary.parse(files.read_bytes(output) or b"", output)


@sent_to_launcher()
def _learn(
    places: list[Place],
    reading: Reading,
    too_long: list[dict[str, int]],
    config: LearnerConfig,
    output: str,
    report_path: str,
) -> None:
    """The step waits for `reading`, so that nothing is written if too many records are bad."""
    vocabulary, report = learn_vocabulary(WordCountFiles(places), config)
    report = dataclasses.replace(
        report,
        words_too_long=sum(counts["words"] for counts in too_long),
        characters_too_long=sum(counts["characters"] for counts in too_long),
    )
    files.write_json(report_path, dataclasses.asdict(report))
    files.write_bytes(output, vocabulary.serialize())
