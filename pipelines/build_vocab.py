"""Learns a WordPiece vocabulary from raw text.

python -m pipelines.build_vocab --input 'corpus/*.txt' --output vocab.txt --vocab_size 30522

Reads the same inputs as pipelines.create_pretraining_data: plain text, JSON lines, Parquet, WikiExtractor's output and
TFDS datasets. Also takes Beam's own options, for example --direct_num_workers=4.
"""

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError
from pipelines.running.quiet import quiet_beam

_INPUT = flags.DEFINE_multi_string(
    "input", None, "Glob of files, or tfds:NAME[/CONFIG][:SPLIT]. May be repeated.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write, such as vocab.txt.", required=True)
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 30_522, "Exact number of tokens, special tokens included.")
_LOWER_CASE = flags.DEFINE_bool("lower_case", True, "Lower-case and strip accents (an uncased model).")
_TEXT_FIELD = flags.DEFINE_string("text_field", "text", "Field with the document in JSON, Parquet and TFDS.")
_MAX_BAD_FRACTION = flags.DEFINE_float("max_bad_fraction", 0.01, "Largest share of records that may be bad.")
_UNUSED_SLOTS = flags.DEFINE_integer(
    "unused_slots", 0, "Number of tokens [unused0], [unused1], ... to reserve for words added later."
)


def main(beam_arguments: list[str]) -> None:
    quiet_beam()
    from pipelines.jobs.vocabulary_learning import build_vocab
    from pipelines.reading.readers import Format

    if _VOCAB_SIZE.value < 100:
        raise InputError(f"--vocab_size must be at least 100. Received: {_VOCAB_SIZE.value}.")
    most = _VOCAB_SIZE.value - 100
    if not 0 <= _UNUSED_SLOTS.value <= most:
        raise InputError(f"--unused_slots must be 0 to {most} (--vocab_size - 100). Received: {_UNUSED_SLOTS.value}.")
    vocabulary = build_vocab(
        input_patterns=_INPUT.value,
        output=_OUTPUT.value,
        vocab_size=_VOCAB_SIZE.value,
        lower_case=_LOWER_CASE.value,
        unused_slots=_UNUSED_SLOTS.value,
        file_format=Format(text_field=_TEXT_FIELD.value),
        max_bad_fraction=_MAX_BAD_FRACTION.value,
        beam_arguments=beam_arguments,
    )
    print(f"{len(vocabulary)} tokens written to {_OUTPUT.value}")


if __name__ == "__main__":
    command.run(main, pass_unknown=True)
