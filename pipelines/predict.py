"""Answers of an exported model for any number of texts, on one machine or many.

python -m pipelines.predict --model models/labels/1 --input 'texts/*.txt' --output answers
python -m pipelines.predict --model models/pairs/1 --input 'pairs/*.jsonl' --output answers --format=parquet

--model is a version that bert_tf.export wrote, of any task. Plain text has one text a line. JSON lines, Parquet and
TFDS have the columns of the model's fine-tuning, such as question and context, or text and choices; also a list of
words where the model tags words. Compression and kind of a file are recognized by its content.

An answer has the texts that were asked and the outputs of the SavedModel, as a server gives them. Answers stand in the
order of the input, in predictions-00000-of-00010.jsonl and so on; their bytes depend neither on the runner nor on the
number of workers. dead_letter.jsonl lists what could not be read or answered. The same command resumes a killed job
and keeps its finished shards.

Also takes Beam's own options, for example --direct_num_workers=4 for four local processes, or --runner=FlinkRunner and
its options. docs/serving.md documents this command, docs/data.md the input formats and runners.
"""

from absl import flags

from bert_tf.core import command
from pipelines.reading.flags import ReadingFlags
from pipelines.running.quiet import quiet_beam

_READING = ReadingFlags(text_field=None, document_per="line", labels=False)
_MODEL = flags.DEFINE_string("model", None, "Folder of an exported version, such as models/labels/1.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the answers.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a folder that another command made.")
_SECOND_TEXT_FIELD = flags.DEFINE_string(
    "second_text_field", None, "Column of the second text; by default that of the fine-tuning."
)
_FORMAT = flags.DEFINE_enum("format", "jsonl", ["jsonl", "parquet"], "Of the answers.")
_EXAMPLES_PER_SHARD = flags.DEFINE_integer(
    "examples_per_shard", 10_000, "Answers of a shard: what a killed job loses at most, for each worker."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Examples that the model computes together.")
_KEEP_INPUTS = flags.DEFINE_bool("keep_inputs", True, "Answers carry the texts that were asked.")
_KEEP_FIELDS = flags.DEFINE_list("keep_fields", [], "Further columns of the input that answers carry, such as id,url.")


def main(beam_arguments: list[str]) -> None:
    quiet_beam()
    from pipelines.jobs.bulk_prediction import predict
    from pipelines.prediction.progress import summary
    from pipelines.prediction.steps import AnswerConfig

    manifest = predict(
        **_READING.arguments(),
        model=_MODEL.value,
        output=_OUTPUT.value,
        config=AnswerConfig(
            form=_FORMAT.value,
            examples_per_shard=_EXAMPLES_PER_SHARD.value,
            batch_size=_BATCH_SIZE.value,
            keep_inputs=_KEEP_INPUTS.value,
            keep=tuple(_KEEP_FIELDS.value),
        ),
        file_format=_READING.file_format(),
        text_field=_READING.text_field,
        second_text_field=_SECOND_TEXT_FIELD.value,
        overwrite=_OVERWRITE.value,
        beam_arguments=beam_arguments,
    )
    print(summary(manifest))
    print(f"Answers in {_OUTPUT.value}, described in {_OUTPUT.value}/dataset.json")


if __name__ == "__main__":
    command.run(main, pass_unknown=True)
