"""Features of texts without training: what any layers give, to Parquet.

python -m bert_tf.extract --model models/bert-base --input texts.txt --output features.parquet --layers -1,-2

One row a text: "text", "tokens" and a column a layer, layer_0 for the embeddings to layer_N for the last block;
negative numbers count from the end. --pooling mean (the default) or cls gives a vector a layer, none one a token.
"""

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import extraction

    values = flags.FLAGS
    count = extraction.run(
        values.model,
        extraction.texts_of(values.input, values.text_field),
        values.output,
        layers=extraction.numbers_of(values.layers),
        pooling=values.pooling,
        max_seq_length=values.max_seq_length,
    )
    print(f"features of {count:,} texts in {values.output}")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Any checkpoint that init_from takes.", required=True)
    flags.DEFINE_string("input", None, "File with one text a line, .jsonl, .csv, .tsv, or - .", required=True)
    flags.DEFINE_string("output", None, "Parquet file to write.", required=True)
    flags.DEFINE_list("layers", ["-1"], "Layers, 0 for the embeddings.")
    flags.DEFINE_enum("pooling", "mean", ["mean", "cls", "none"], "One vector a text, or (none) one a token.")
    flags.DEFINE_integer(
        "max_seq_length", None, "Most tokens of a text, which is truncated; the model's own by default."
    )
    flags.DEFINE_string("text_field", "text", "Column of the text.")
    command.run(main)
