"""What a step of a pretraining run learned from: rows of shards, and their documents. bert_tf.trace is its command.

Without TensorFlow: the order of the data is arithmetic, and provenance files name the documents.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence

from bert_tf.core import config_io, provenance, records, skipped_batches
from bert_tf.core.config import PretrainDataConfig
from bert_tf.core.data_order import Mixture, Record, split_digest
from bert_tf.core.errors import InputError
from bert_tf.core.provenance import Document


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a batch.

    Attributes:
      number: in the batch.
      shard: path of the shard.
      record: number of the record in the shard.
      documents: that it was made from.
    """

    number: int
    shard: str
    record: int
    documents: tuple[Document, ...]


def trace(workdir: str, step: int, row: int | None = None) -> list[Row]:
    """The rows that an optimizer step learned from.

    Args:
      workdir: of a pretraining run.
      step: from 1.
      row: of its batch, from 0; None for all.

    Raises:
      InputError: no such run, step or row, or shards that are gone, changed or without provenance.
    """
    values = config_io.read_json(os.path.join(workdir, "config.json"))
    if "task" in values:
        raise InputError(f"--workdir {workdir}: expected a pretraining run. Received one that fine-tunes.")
    data = config_io.from_dict(PretrainDataConfig, values["data"], f"--workdir {workdir}: config.json: data")
    train = values["train"]
    if not 1 <= step <= train["steps"]:
        raise InputError(f"--step {step}: expected a step of the run, from 1 to {train['steps']}.")
    folders = data.train_folders
    shards = [_training_shards(folder) for folder in folders]
    _check_unchanged(workdir, shards)
    mixture = Mixture(
        list(zip(folders, shards, strict=True)),
        weights=data.weights,
        global_batch_size=train["global_batch_size"],
        seed=train["seed"],
        readers=data.readers,
    )
    found = dict(enumerate(mixture.records(skipped_batches.batch_of(workdir, step))))
    if row is not None:
        if row not in found:
            raise InputError(f"--row {row}: expected a row of the batch, from 0 to {len(found) - 1}.")
        found = {row: found[row]}
    return _with_documents(found, folders)


def text_of(rows: Sequence[Row]) -> str:
    """The rows as text: a line for each, and an indented one for each of its documents."""
    lines = []
    for row in rows:
        lines.append(f"row {row.number}: {row.shard}, record {row.record}")
        for name, origin in row.documents:
            labels = f"  source: {origin.source or 'unknown'}  licence: {origin.licence or 'unknown'}"
            lines.append(f"  {name}  {origin.file}, {origin.unit} {origin.offset}{labels}")
    return "\n".join(lines)


def _training_shards(folder: str) -> list[dict]:
    if "://" in folder:
        raise InputError(f"data.train={folder}: expected a folder of this machine. Received a URL; copy it first.")
    manifest = config_io.read_json(os.path.join(folder, records.MANIFEST))
    return [shard for shard in manifest["shards"] if shard["name"].startswith("pretrain-train.")]


def _check_unchanged(workdir: str, shards: Sequence[Sequence[dict]]) -> None:
    begun = config_io.read_json(os.path.join(workdir, "shards.json"))["sha256"]
    if (received := split_digest(shards)) != begun:
        raise InputError(
            f"--workdir {workdir}: expected the shards that its run began with, sha256 {begun[:12]}. Received others, "
            f"sha256 {received[:12]}."
        )


def _with_documents(found: dict[int, Record], folders: Sequence[str]) -> list[Row]:
    wanted: dict[tuple[int, str], set[int]] = collections.defaultdict(set)
    for record in found.values():
        wanted[record.source, record.shard].add(record.number)
    documents = {
        (source, shard): provenance.read(os.path.join(folders[source], provenance.file_name(shard)), numbers)
        for (source, shard), numbers in wanted.items()
    }
    return [
        Row(
            number,
            os.path.join(folders[record.source], record.shard),
            record.number,
            tuple(documents[record.source, record.shard].get(record.number, ())),
        )
        for number, record in found.items()
    ]
