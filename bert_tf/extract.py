"""Features of texts without training: what any layers give, to Parquet.

python -m bert_tf.extract --model models/bert-base --input texts.txt --output features.parquet --layers -1,-2

One row a text: "text", "tokens" and a column a layer, layer_0 for the embeddings to layer_N for the last block;
negative numbers count from the end. --pooling mean (the default) or cls gives a vector a layer, none one a token.
"""

from collections.abc import Iterable, Sequence

from absl import flags

from bert_tf.core import command, whole_file
from bert_tf.core.errors import InputError

_AT_ONCE = 256


def run(
    model: str, texts: Iterable[str], output: str, *, layers: Sequence[int], pooling: str, max_seq_length: int | None
) -> int:
    """Writes the file, under a temporary name first, and returns the number of texts.

    Raises:
      InputError: not a model, or a layer that it has not.
    """
    import dataclasses

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf

    from bert_tf.interop.source import open_source
    from bert_tf.objectives.masked_lm import BertModel
    from bert_tf.predict import chunks
    from bert_tf.tasks.task import pack
    from bert_tf.text.wordpiece import Tokenizer

    source = open_source(model, "--model")
    count = source.config.num_hidden_layers
    chosen = [layer % (count + 1) if -count - 1 <= layer <= count else None for layer in layers]
    if None in chosen or not chosen:
        raise InputError(f"--layers: expected numbers in {-count - 1} to {count}. Received: {list(layers)}.")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"--layers: expected different ones, of {count} blocks. Received: {list(layers)}.")
    length = max_seq_length or source.max_seq_length
    if not 3 <= length <= source.config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length {length}: expected 3 to {source.config.max_position_embeddings}, the model's positions."
        )
    kept = {} if source.directory is None else source.directory.task_settings
    encoder = BertModel(source.config, with_pooler=False, adapter_size=kept.get("adapter_size"))
    encoder.build()
    fresh = source.load_weights(encoder).fresh
    if fresh:
        raise InputError(f"--model {model}: expected all weights of the encoder. Received none of {', '.join(fresh)}.")
    tokenizer = Tokenizer(source.vocabulary, **dataclasses.asdict(source.tokenizer))

    @tf.function(reduce_retracing=True)
    def states(batch):
        found = encoder(batch, training=False)["hidden_states"]
        return [tf.cast(found[layer], tf.float32) for layer in chosen]

    vector = pa.list_(pa.float32())
    value = pa.list_(vector) if pooling == "none" else vector
    schema = pa.schema(
        [("text", pa.string()), ("tokens", pa.list_(pa.string())), *((f"layer_{layer}", value) for layer in chosen)]
    )
    written = 0
    with whole_file.replacing(output, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks(texts, _AT_ONCE):
            arrays, _ = pack(tokenizer, chunk, max_seq_length=length)
            sizes = arrays["input_mask"].sum(axis=1)
            arrays = {name: x[:, : sizes.max()] for name, x in arrays.items()}
            table = {
                "text": chunk,
                "tokens": [
                    [source.vocabulary.tokens[i] for i in ids[:size]]
                    for ids, size in zip(arrays["input_word_ids"], sizes, strict=True)
                ],
            }
            for layer, found in zip(chosen, states({name: tf.constant(x) for name, x in arrays.items()}), strict=True):
                rows = [row[:size] for row, size in zip(found.numpy(), sizes, strict=True)]
                if pooling == "none":
                    table[f"layer_{layer}"] = [list(row) for row in rows]
                else:
                    table[f"layer_{layer}"] = [row[0] if pooling == "cls" else np.mean(row, axis=0) for row in rows]
            writer.write_table(pa.table(table, schema=schema))
            written += len(chunk)
    return written


def main(_) -> None:
    from bert_tf.predict import read_texts
    from bert_tf.tasks.rows_of_files import read_rows, text_of

    path, column = flags.FLAGS.input, flags.FLAGS.text_field
    if path.endswith((".jsonl", ".csv", ".tsv")) or path.startswith("tfds:"):
        texts = [text_of(row, column, place) for place, row in read_rows(path, "--input")]
    else:
        texts = read_texts(path)
    try:
        layers = [int(layer) for layer in flags.FLAGS.layers]
    except ValueError:
        raise InputError(f"--layers {','.join(flags.FLAGS.layers)}: expected whole numbers.") from None
    count = run(
        flags.FLAGS.model,
        texts,
        flags.FLAGS.output,
        layers=layers,
        pooling=flags.FLAGS.pooling,
        max_seq_length=flags.FLAGS.max_seq_length,
    )
    print(f"features of {count:,} texts in {flags.FLAGS.output}")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Any checkpoint that init_from takes.", required=True)
    flags.DEFINE_string("input", None, "File with one text a line, .jsonl, .csv, .tsv, or - .", required=True)
    flags.DEFINE_string("output", None, "Parquet file to write.", required=True)
    flags.DEFINE_list("layers", ["-1"], "Layers, 0 for the embeddings.")
    flags.DEFINE_enum("pooling", "mean", ["mean", "cls", "none"], "One vector a text, or (none) one a token.")
    flags.DEFINE_integer("max_seq_length", None, "Tokens that a text is cut to; the model's own by default.")
    flags.DEFINE_string("text_field", "text", "Column of the text.")
    command.run(main)
