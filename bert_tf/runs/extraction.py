"""Features of texts without training, to Parquet. bert_tf.extract is its command."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError
from bert_tf.interop.source import Source, open_source
from bert_tf.models.model import Model, make_model
from bert_tf.runs.prediction import chunks, read_texts
from bert_tf.tasks.shared.rows_of_files import read_rows, text_of
from bert_tf.tasks.shared.sequences import packed
from bert_tf.tasks.shared.truncation import Truncation

_AT_ONCE = 256


def run(
    model: str, texts: Iterable[str], output: str, *, layers: Sequence[int], pooling: str, max_seq_length: int | None
) -> int:
    """Writes the file, under a temporary name first, reports truncated texts, and returns the number of texts.

    Args:
      model: any checkpoint that init_from takes.
      texts: one row each.
      output: Parquet file.
      layers: 0 for the embeddings, negative numbers from the end.
      pooling: mean or cls for a vector a layer, none for one a token.
      max_seq_length: tokens that a text is truncated to; None for the model's own.

    Raises:
      InputError: not a model, or a layer that it does not have.
    """
    source = open_source(model, "--model")
    chosen = _chosen(layers, source.config.num_hidden_layers)
    length = max_seq_length or source.max_seq_length
    if not 3 <= length <= source.config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length {length}: expected 3 to {source.config.max_position_embeddings}, the model's positions."
        )
    encoder, tokenizer = _encoder(source), source.make_tokenizer()

    @tf.function(reduce_retracing=True)
    def states(batch):
        found = encoder(batch, training=False)["hidden_states"]
        return [tf.cast(found[layer], tf.float32) for layer in chosen]

    schema = _schema(chosen, pooling)
    truncation = Truncation()
    with whole_file.replacing(output, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks(texts, _AT_ONCE):
            batch, layout = packed(tokenizer, [tf.constant(chunk)], length, fixed_length=False)
            truncation += Truncation.of({name: x.numpy() for name, x in layout.items()})
            sizes = tf.reduce_sum(batch["input_mask"], axis=1).numpy()
            ids = batch["input_word_ids"].numpy()
            table: dict[str, list] = {
                "text": chunk,
                "tokens": [[source.vocabulary.tokens[i] for i in row[:n]] for row, n in zip(ids, sizes, strict=True)],
            }
            for layer, found in zip(chosen, states(batch), strict=True):
                rows = [row[:size] for row, size in zip(found.numpy(), sizes, strict=True)]
                table[f"layer_{layer}"] = [_pooled(row, pooling) for row in rows]
            writer.write_table(pa.table(table, schema=schema))
    print(f"rows of {length} tokens: {truncation}", flush=True)
    return truncation.examples


def texts_of(path: str, column: str) -> Iterable[str]:
    """The texts of a file: one a line, or a column of .jsonl, .csv, .tsv or tfds:NAME."""
    if path.endswith((".jsonl", ".csv", ".tsv")) or path.startswith("tfds:"):
        return [text_of(row, column, place) for place, row in read_rows(path, "--input")]
    return read_texts(path)


def numbers_of(layers: Sequence[str]) -> list[int]:
    """--layers as numbers.

    Raises:
      InputError: one that is none.
    """
    try:
        return [int(layer) for layer in layers]
    except ValueError:
        raise InputError(f"--layers {','.join(layers)}: expected whole numbers.") from None


def _chosen(layers: Sequence[int], count: int) -> list[int]:
    """Layers counted from 0.

    Raises:
      InputError: one that is not there, or stands twice.
    """
    if not layers or not all(-count - 1 <= layer <= count for layer in layers):
        raise InputError(f"--layers: expected numbers in {-count - 1} to {count}. Received: {list(layers)}.")
    chosen = [layer % (count + 1) for layer in layers]
    if len(set(chosen)) < len(chosen):
        raise InputError(f"--layers: expected each layer once, of {count} blocks. Received: {list(layers)}.")
    return chosen


def _encoder(source: Source) -> Model:
    kept = {} if source.directory is None else source.directory.task_settings
    encoder = make_model(source.config, {}, with_pooler=False, adapter_size=kept.get("adapter_size"))
    fresh = source.load_weights(encoder).fresh
    if fresh:
        raise InputError(f"--model {source.path}: expected all weights of the encoder. Missing: {', '.join(fresh)}.")
    return encoder


def _schema(layers: Sequence[int], pooling: str) -> pa.Schema:
    vector = pa.list_(pa.float32())
    value = pa.list_(vector) if pooling == "none" else vector
    return pa.schema(
        [("text", pa.string()), ("tokens", pa.list_(pa.string())), *((f"layer_{layer}", value) for layer in layers)]
    )


def _pooled(row: np.ndarray, pooling: str):
    """[tokens, width] -> the list of vectors, or one."""
    if pooling == "none":
        return list(row)
    return row[0] if pooling == "cls" else np.mean(row, axis=0)
