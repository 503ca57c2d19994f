"""Learns a WordPiece vocabulary from raw text.

python -m pipelines.build_vocab --input 'corpus/*.txt' --output vocab.txt --vocab_size 30522

Reads the same inputs as pipelines.create_pretraining_data: plain text, JSON, Parquet, WikiExtractor's output and
TFDS datasets. Also takes Beam's own options, for example --direct_num_workers=4.
"""

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError
from pipelines.reading.flags import ReadingFlags
from pipelines.running.quiet import quiet_beam

_READING = ReadingFlags()
_OUTPUT = flags.DEFINE_string("output", None, "File to write, such as vocab.txt.", required=True)
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 30_522, "Exact number of tokens, special tokens included.")
_CHARACTER_COVERAGE = flags.DEFINE_float(
    "character_coverage",
    0.9995,
    "Least share of the text's characters in the vocabulary, if half of its tokens can hold them.",
)
_MAX_CHARACTERS = flags.DEFINE_integer("max_characters", None, "Most different characters in the vocabulary.")
_MAX_WORDS = flags.DEFINE_integer(
    "max_words", 2_000_000, "Most different words to learn from, the most frequent ones; about 1 GB a million."
)
_LOWER_CASE = flags.DEFINE_bool("lower_case", True, "Lower-case and strip accents (an uncased model).")
_STRIP_ACCENTS = flags.DEFINE_bool(
    "strip_accents",
    None,
    "Remove accents, which are vowel signs in Hindi and voicing marks in Japanese; default: as --lower_case.",
)
_SPLIT_CJK = flags.DEFINE_bool("split_cjk", True, "Every ideograph is a word.")
_MAX_WORD_LENGTH = flags.DEFINE_integer("max_word_length", 100, "Characters above which a word is [UNK].")
_UNUSED_SLOTS = flags.DEFINE_integer(
    "unused_slots", 0, "Number of tokens [unused0], [unused1], ... to reserve for words added later."
)


def main(beam_arguments: list[str]) -> None:
    quiet_beam()
    from pipelines.jobs.vocabulary_learning import build_vocab

    if _VOCAB_SIZE.value < 100:
        raise InputError(f"--vocab_size must be at least 100. Received: {_VOCAB_SIZE.value}.")
    most = _VOCAB_SIZE.value - 100
    if not 0 <= _UNUSED_SLOTS.value <= most:
        raise InputError(f"--unused_slots must be 0 to {most} (--vocab_size - 100). Received: {_UNUSED_SLOTS.value}.")
    vocabulary = build_vocab(
        **_READING.arguments(),
        output=_OUTPUT.value,
        vocab_size=_VOCAB_SIZE.value,
        lower_case=_LOWER_CASE.value,
        strip_accents=_STRIP_ACCENTS.value,
        split_cjk=_SPLIT_CJK.value,
        max_word_length=_MAX_WORD_LENGTH.value,
        character_coverage=_CHARACTER_COVERAGE.value,
        max_characters=_MAX_CHARACTERS.value,
        max_words=_MAX_WORDS.value,
        unused_slots=_UNUSED_SLOTS.value,
        file_format=_READING.file_format(),
        beam_arguments=beam_arguments,
    )
    print(f"{len(vocabulary)} tokens written to {_OUTPUT.value}")
    given = (_LOWER_CASE, _STRIP_ACCENTS, _SPLIT_CJK, _MAX_WORD_LENGTH)
    same = [f"--{flag.name}={str(flag.value).lower()}" for flag in given if flag.value != flag.default]
    if same:
        print(f"pipelines.create_pretraining_data needs the same flags: {' '.join(same)}")


if __name__ == "__main__":
    command.run(main, pass_unknown=True)
