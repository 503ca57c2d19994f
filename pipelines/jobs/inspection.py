"""Prints the quality report and records of a folder of shards as text."""

import gzip
import io
import itertools
import zlib
from collections.abc import Iterator

import numpy as np

from bert_tf.core import record_files, records
from bert_tf.core.errors import InputError
from bert_tf.core.records import RecordLayout
from bert_tf.text.vocabulary import Vocabulary, added_tokens
from pipelines.running import files
from pipelines.writing import output_folder, quality

_LABELS = {
    "next_sentence": ("the next sentence", "a random sentence"),
    "sentence_order": ("in order", "swapped"),
}


def describe(folder: str, *, split: str, shard: int, number: int) -> Iterator[str]:
    """The quality report, the first `number` records of a shard, one string each, and a last line with their number.

    Raises:
      InputError: no finished folder, no such shard, or a broken one.
    """
    manifest, vocabulary = open_folder(folder)
    of_split = [info for info in manifest["shards"] if info["name"].startswith(f"pretrain-{split}.")]
    if not 0 <= shard < len(of_split):
        raise InputError(f"--shard must be one of the {len(of_split)} {split} shards, from 0. Received: {shard}.")
    yield quality.report(manifest) + "\n"
    info = of_split[shard]
    layout, parameters = RecordLayout.of(manifest), manifest["parameters"]
    serialized = list(itertools.islice(read_shard(folder, info, parameters["compression"]), number))
    if serialized:
        batch = {name: values.numpy() for name, values in records.parse(serialized, layout).items()}
        for index in range(len(serialized)):
            record = {name: values[index] for name, values in batch.items()}
            shown = show(record, vocabulary, layout, parameters["instances"]["pairs"])
            yield f"{info['name']}, record {index}: {shown}\n"
    yield f"{len(serialized)} of {info['examples']:,} records of this shard, one of {len(of_split)} for {split}."


def show(record: dict[str, np.ndarray], vocabulary: Vocabulary, layout: RecordLayout, pairs: str) -> str:
    """One record in a few lines: each sequence with [hidden→shown] at masked positions, and its label.

    Args:
      record: features without a batch dimension.
      vocabulary: ids to tokens.
      layout: of the record.
      pairs: what a label means, one of sentence_pairs.METHODS.
    """
    used = int(record["input_mask"].sum())
    words = [vocabulary.tokens[token] for token in record["input_word_ids"][:used]]
    masked = 0
    if layout.max_predictions_per_seq:
        masked = int(record["masked_lm_weights"].sum())
        for position, hidden in zip(record["masked_lm_positions"], record["masked_lm_ids"][:masked], strict=False):
            words[position] = f"[{vocabulary.tokens[hidden]}→{words[position].strip('[]')}]"
    lines = [f"{used} of {layout.max_seq_length} positions used, {masked} masked"]
    sequence_ids = record.get("sequence_ids", record["input_mask"])
    for number in range(1, int(sequence_ids.max(initial=0)) + 1):
        places = np.flatnonzero(sequence_ids == number)
        kinds = record["input_type_ids"][places]
        for segment in (0, 1):
            here = [words[place] for place in places[kinds == segment]]
            if here:
                lines.append(f"  {number if segment == 0 else ' ':>3} {'AB'[segment]}  {' '.join(here)}")
        if layout.has_pairs:
            lines.append(f"         B is {_LABELS[pairs][int(record['next_sentence_labels'][number - 1])]}")
    return "\n".join(lines)


def read_shard(folder: str, info: dict, compression: str) -> Iterator[bytes]:
    """The serialized records of a shard."""
    data = files.read_bytes(files.join(folder, info["name"]))
    if data is None:
        raise InputError(f"{folder}: expected the shard {info['name']}. Received no such file.")
    try:
        yield from record_files.read_records(io.BytesIO(gzip.decompress(data) if compression == "gzip" else data))
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{folder}: {info['name']}: expected whole records. Received: {error}.") from None


def open_folder(folder: str) -> tuple[dict, Vocabulary]:
    """The dataset.json and the vocabulary of a finished folder."""
    for name in (records.MANIFEST, records.VOCABULARY):
        if not files.exists(files.join(folder, name)):
            raise InputError(f"{folder}: expected a folder of finished shards. Received one without {name}.")
    manifest = output_folder.read_json(folder, records.MANIFEST)
    if "layout" not in manifest:
        raise InputError(f"{folder}: expected shards of format 3 or later. Received format {manifest.get('format')}.")
    path = files.join(folder, records.VOCABULARY)
    vocabulary = Vocabulary.parse(files.read_bytes(path) or b"", path, added_tokens(manifest["vocabulary"]))
    made_with = manifest["vocabulary"]["sha256"]
    if vocabulary.sha256 != made_with:
        raise InputError(
            f"{path}: expected the vocabulary that the shards were made with, sha256 {made_with[:12]}. Received one "
            f"with sha256 {vocabulary.sha256[:12]}."
        )
    return manifest, vocabulary
