"""Turns raw text into TFRecord shards for BERT pretraining.

python -m pipelines.create_pretraining_data --input 'corpus/*.txt' --vocab vocab.txt --output_dir shards \
    --max_seq_length 128 --max_predictions_per_seq 20 --dupe_factor 1 --num_shards 8 --seed 12345

Plain text has a blank line between documents; a .jsonl file has one {"text": ...} a line; Parquet has a column "text".
Compression by gzip, bz2, xz and zstd is recognized. A job that was killed goes on when started again, with the shards
it had finished. Beam's own options follow,
for example --direct_num_workers=4 --direct_running_mode=multi_processing, or --runner=DataflowRunner and its options.
"""

import time

from absl import flags

from bert_tf import command

_INPUT = flags.DEFINE_multi_string("input", None, "Glob of text files. May be repeated.", required=True)
_VOCAB = flags.DEFINE_string("vocab", None, "vocab.txt, one token a line.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the shards.", required=True)
_LOWER_CASE = flags.DEFINE_bool("lower_case", True, "Lower-case and strip accents (an uncased vocabulary).")
_MAX_SEQ_LENGTH = flags.DEFINE_integer("max_seq_length", 128, "Tokens of an instance, special tokens included.")
_MAX_PREDICTIONS = flags.DEFINE_integer("max_predictions_per_seq", 20, "Masked tokens of an instance, at most.")
_MASKED_LM_PROB = flags.DEFINE_float("masked_lm_prob", 0.15, "Share of tokens to mask.")
_SHORT_SEQ_PROB = flags.DEFINE_float("short_seq_prob", 0.1, "Share of documents that make shorter instances.")
_DUPE_FACTOR = flags.DEFINE_integer("dupe_factor", 1, "Passes over the documents, each with fresh pairs and masks.")
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 8, "Training shards.")
_VALIDATION_FRACTION = flags.DEFINE_float("validation_fraction", 0.02, "Share of documents held out.")
_NUM_VALIDATION_SHARDS = flags.DEFINE_integer("num_validation_shards", 1, "Validation shards.")
_SEED = flags.DEFINE_integer("seed", 12345, "Same input and seed: same bytes.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Share of records that may be unreadable; they are listed in dead_letter.jsonl."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a folder that was made with other parameters.")


def main(beam_arguments: list[str]) -> None:
    from pipelines.pool import InstanceConfig
    from pipelines.pretraining_data import JobConfig, create_pretraining_data
    from pipelines.report import summary

    started = time.monotonic()
    instances = InstanceConfig(
        max_seq_length=_MAX_SEQ_LENGTH.value,
        max_predictions_per_seq=_MAX_PREDICTIONS.value,
        masked_lm_prob=_MASKED_LM_PROB.value,
        short_seq_prob=_SHORT_SEQ_PROB.value,
        seed=_SEED.value,
        lower_case=_LOWER_CASE.value,
    )
    manifest = create_pretraining_data(
        input_patterns=_INPUT.value,
        vocab=_VOCAB.value,
        output_dir=_OUTPUT_DIR.value,
        config=JobConfig(
            instances=instances,
            num_shards=_NUM_SHARDS.value,
            num_validation_shards=_NUM_VALIDATION_SHARDS.value,
            validation_fraction=_VALIDATION_FRACTION.value,
            dupe_factor=_DUPE_FACTOR.value,
        ),
        max_bad_fraction=_MAX_BAD_FRACTION.value,
        overwrite=_OVERWRITE.value,
        beam_arguments=beam_arguments,
    )
    print(summary(manifest, seconds=time.monotonic() - started))
    print(f"Shards in {_OUTPUT_DIR.value}, described in {_OUTPUT_DIR.value}/dataset.json")


if __name__ == "__main__":
    command.run(main, pass_unknown=True)
