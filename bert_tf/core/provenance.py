"""Provenance files: which documents the rows of a shard were made from, as a Parquet file beside the shard.

A file has one row for each document that the shard's rows hold, in the order of files and offsets:

  id       the first 8 bytes of the document's id, a hash of its cleaned text
  file     the input file
  unit     what the offset counts: "byte" or, of Parquet files, "row"
  offset   where the document begins, from 0; in a compressed file or one of another encoding, in its text as UTF-8
  source   the value of --source_field, null where there is none
  licence  the value of --licence_field, null where there is none
  rows     numbers of the shard's rows that hold text of the document, ascending

pyarrow is imported where it is used: most of what imports this module needs the names only.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.core.errors import InputError, reason_of

ID_BYTES = 8
_SHARD_PREFIX, _PREFIX, _INFIX = "pretrain-", "provenance-", ".tfrecord"


class Origin(NamedTuple):
    """Where a document stands in the input; see above."""

    file: str
    unit: str
    offset: int
    source: str | None = None
    licence: str | None = None


class Document(NamedTuple):
    """A document that a row was made from; `id` as hexadecimal digits."""

    id: str
    origin: Origin


@dataclasses.dataclass(frozen=True)
class RowDocuments:
    """The documents of a pool with the rows that hold text of them.

    Attributes:
      identities: ids of the documents.
      origins: where they stand in the input.
      rows: numbers of rows, document by document, ascending within each; int64 [entries].
      starts: where each document begins in `rows`, and the end of the last; int64 [documents + 1].
    """

    identities: Sequence[bytes]
    origins: Sequence[Origin]
    rows: np.ndarray
    starts: np.ndarray


def file_name(shard: str) -> str:
    """The provenance file of a shard.

    >>> file_name("pretrain-train.tfrecord-00000-of-00008")
    'provenance-train-00000-of-00008.parquet'
    """
    return f"{_PREFIX}{shard.removeprefix(_SHARD_PREFIX).replace(_INFIX, '')}.parquet"


def read(path: str, rows: Iterable[int]) -> dict[int, list[Document]]:
    """The documents of some rows of a shard.

    Args:
      path: of the provenance file.
      rows: their numbers in the shard.

    Raises:
      InputError: the file is not there or cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    wanted = np.unique(np.fromiter(rows, np.int64))
    try:
        table = pyarrow.parquet.read_table(path, memory_map=True)
        lists = table.column("rows").combine_chunks()
        numbers = lists.values.to_numpy()
        owners = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
        places = np.flatnonzero(np.isin(numbers, wanted))
        documents, which = np.unique(owners[places], return_inverse=True)
        values = table.select(["id", *Origin._fields]).take(documents).to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path}: expected the provenance of a shard. Received: no such file.") from None
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected the provenance of a shard. Received: {reason_of(error)}.") from None
    described = [Document(value.pop("id").hex(), Origin(**value)) for value in values]
    found: dict[int, list[Document]] = collections.defaultdict(list)
    for number, document in zip(numbers[places].tolist(), which.tolist(), strict=True):
        found[number].append(described[document])
    return dict(found)
