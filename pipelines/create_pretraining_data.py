"""Turns raw text into TFRecord shards for BERT pretraining.

python -m pipelines.create_pretraining_data --input 'corpus/*.txt' --vocab vocab.txt --output_dir shards \
    --max_seq_length 128 --dupe_factor 1 --num_shards 8 --seed 12345

Reads plain text with a blank line between documents (a line break always ends a sentence), JSON and Parquet with a
field "text", WikiExtractor's output, and TFDS datasets (--input tfds:wikipedia/20230601.en); detects gzip, bzip2, xz
and zstd. The same command resumes a killed job and keeps its finished shards. python -m pipelines.inspect_shards DIR
prints records. docs/data.md documents every option.

Also takes Beam's own options, for example --direct_num_workers=4 for four local processes, or --runner=DataflowRunner
and its options.
"""

from absl import flags

from bert_tf.core import command
from pipelines.reading.flags import ReadingFlags
from pipelines.running.quiet import quiet_beam

_READING = ReadingFlags()
_VOCAB = flags.DEFINE_string(
    "vocab", None, "vocab.txt, one token a line; or the folder of a model, with its added tokens.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the shards.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a folder that was made with other parameters.")
_SEED = flags.DEFINE_integer("seed", 12345, "The same input and seed make the same bytes.")
_TOKENIZER = flags.DEFINE_string("tokenizer", "wordpiece", "Kind of the vocabulary.")
_LOWER_CASE = flags.DEFINE_bool("lower_case", True, "Lower-case the text (an uncased vocabulary).")
_STRIP_ACCENTS = flags.DEFINE_bool(
    "strip_accents",
    None,
    "Remove accents, Japanese voicing marks and the vowel signs of Indic scripts; default: as --lower_case (BERT).",
)
_SPLIT_CJK = flags.DEFINE_bool("split_cjk", True, "Make every Chinese ideograph a word.")
_MAX_WORD_LENGTH = flags.DEFINE_integer(
    "max_word_length", 100, "Characters above which a word is [UNK]; raise it for scripts without spaces."
)

_CLEAN = flags.DEFINE_bool(
    "clean",
    True,
    "Unicode form C; no control or invisible characters, repeated spaces or empty lines.",
)
_MIN_CHARACTERS = flags.DEFINE_integer("min_document_characters", 0, "Drop shorter documents.")
_DEDUPLICATE = flags.DEFINE_bool("deduplicate", True, "Drop repeated documents.")
_DEDUPLICATE_PARAGRAPHS = flags.DEFINE_bool("deduplicate_paragraphs", False, "Drop lines that another document has.")
_NEAR_DUPLICATES = flags.DEFINE_float(
    "near_duplicates",
    0.0,
    "Drop documents whose 5-word shingles are this similar to another one's (try 0.8); 0 = off.",
)
_QUALITY_RULES = flags.DEFINE_enum("quality_rules", "none", ["none", "c4"], "Drop lines and documents by C4's rules.")

_EXCLUDE = flags.DEFINE_multi_string(
    "exclude", [], "File or glob of evaluation texts: documents that share an n-gram with them are dropped. Repeatable."
)
_EXCLUDE_NGRAM = flags.DEFINE_integer("exclude_ngram", 13, "Words of an n-gram.", lower_bound=1)
_EXCLUDE_FIELD = flags.DEFINE_string("exclude_field", None, "As --text_field, of --exclude; default: --text_field.")
_FILTER = flags.DEFINE_multi_string(
    "filter",
    [],
    "Keep documents by an exported classifier (MODEL:LABEL>=0.8 or MODEL:LABEL<0.2) or a function (module:function) "
    "that takes a list of texts and gives a list of booleans. Repeatable.",
)

_MAX_SEQ_LENGTH = flags.DEFINE_integer("max_seq_length", 128, "Tokens per row, special tokens included.")
_PAIRS = flags.DEFINE_enum(
    "pairs",
    "next_sentence",
    ["next_sentence", "sentence_order", "none"],
    "next_sentence as in BERT, sentence_order as in ALBERT, none = RoBERTa's full sentences without pairs.",
)
_SENTENCES = flags.DEFINE_enum(
    "sentences", "auto", ["auto", "lines"], "auto = by the marks of all scripts; lines = every line is one sentence."
)
_SHORT_SEQ_PROB = flags.DEFINE_float("short_seq_prob", 0.1, "Share of documents that make shorter instances.")
_MASKING = flags.DEFINE_enum(
    "masking",
    "wordpiece",
    ["wordpiece", "whole_word", "span", "none"],
    "What to mask; none = masks drawn in training.",
)
_MASKED_LM_PROB = flags.DEFINE_float("masked_lm_prob", 0.15, "Share of tokens to mask.")
_MAX_PREDICTIONS = flags.DEFINE_integer(
    "max_predictions_per_seq",
    None,
    "Most masked tokens per row; default: room for --masked_lm_prob of a full row, 20 of 128 and 80 of 512 tokens.",
)
_DUPE_FACTOR = flags.DEFINE_integer("dupe_factor", 1, "Passes over the documents, each with new pairs and masks.")
_PACKING = flags.DEFINE_bool("packing", False, "Several instances in a row, without attention between them.")
_MAX_SEQUENCES_PER_ROW = flags.DEFINE_integer(
    "max_sequences_per_row", 0, "Most instances per packed row; 0 = one for every 16 positions."
)

_NUM_SHARDS = flags.DEFINE_integer("num_shards", None, "Training shards; default: one for every 100 MB, at least 8.")
_VALIDATION_FRACTION = flags.DEFINE_float("validation_fraction", 0.02, "Share of documents held out.")
_NUM_VALIDATION_SHARDS = flags.DEFINE_integer(
    "num_validation_shards", None, "Validation shards; default: one for every 100 MB."
)
_COMPRESSION = flags.DEFINE_enum(
    "compression", "none", ["none", "gzip"], "Of the shards; TFDS opens only uncompressed ones."
)


def main(beam_arguments: list[str]) -> None:
    quiet_beam()
    import dataclasses

    from pipelines.filtering import contamination, deciders
    from pipelines.filtering.cleaning import DocumentConfig
    from pipelines.instances.pool import InstanceConfig
    from pipelines.jobs.job import JobConfig
    from pipelines.jobs.pretraining_data import create_pretraining_data
    from pipelines.writing.report import summary

    file_format, exclude = _READING.file_format(), None
    if _EXCLUDE.value:
        of_texts = dataclasses.replace(file_format, text_field=_EXCLUDE_FIELD.value or file_format.text_field)
        exclude = contamination.read_excluded(_EXCLUDE.value, _EXCLUDE_NGRAM.value, of_texts)
        print(exclude.summary(), flush=True)
    manifest = create_pretraining_data(
        **_READING.arguments(),
        vocab=_VOCAB.value,
        output_dir=_OUTPUT_DIR.value,
        config=JobConfig(
            instances=InstanceConfig(
                max_seq_length=_MAX_SEQ_LENGTH.value,
                max_predictions_per_seq=_MAX_PREDICTIONS.value,
                masked_lm_prob=_MASKED_LM_PROB.value,
                masking=_MASKING.value,
                pairs=_PAIRS.value,
                short_seq_prob=_SHORT_SEQ_PROB.value,
                sentences=_SENTENCES.value,
                packing=_PACKING.value,
                max_sequences_per_row=_MAX_SEQUENCES_PER_ROW.value,
                seed=_SEED.value,
                tokenizer=_TOKENIZER.value,
                lower_case=_LOWER_CASE.value,
                strip_accents=_STRIP_ACCENTS.value,
                split_cjk=_SPLIT_CJK.value,
                max_word_length=_MAX_WORD_LENGTH.value,
            ),
            documents=DocumentConfig(
                clean=_CLEAN.value,
                min_characters=_MIN_CHARACTERS.value,
                deduplicate=_DEDUPLICATE.value,
                deduplicate_paragraphs=_DEDUPLICATE_PARAGRAPHS.value,
                near_duplicates=_NEAR_DUPLICATES.value,
                quality_rules=_QUALITY_RULES.value,
            ),
            file_format=file_format,
            num_shards=_NUM_SHARDS.value,
            num_validation_shards=_NUM_VALIDATION_SHARDS.value,
            validation_fraction=_VALIDATION_FRACTION.value,
            dupe_factor=_DUPE_FACTOR.value,
            compression=_COMPRESSION.value,
        ),
        exclude=exclude,
        filters=[deciders.parse(text) for text in _FILTER.value],
        overwrite=_OVERWRITE.value,
        beam_arguments=beam_arguments,
    )
    print(summary(manifest))
    print(f"Shards in {_OUTPUT_DIR.value}, described in {_OUTPUT_DIR.value}/dataset.json")


if __name__ == "__main__":
    command.run(main, pass_unknown=True)
