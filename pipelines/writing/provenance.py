"""Writes the provenance file of a shard; bert_tf/core/provenance.py describes and reads it."""

import collections
import hashlib
import io

import numpy as np
import pyarrow
import pyarrow.parquet

from bert_tf.core import card, provenance
from bert_tf.core.provenance import RowDocuments
from pipelines.running import files

_MOST_LICENCES = 100  # that are counted: the field may hold something else
_TEXT = ("file", "unit", "source", "licence")
_SCHEMA = pyarrow.schema(
    [
        pyarrow.field("id", pyarrow.binary(provenance.ID_BYTES)),
        pyarrow.field("file", pyarrow.string()),
        pyarrow.field("unit", pyarrow.string()),
        pyarrow.field("offset", pyarrow.int64()),
        pyarrow.field("source", pyarrow.string()),
        pyarrow.field("licence", pyarrow.string()),
        pyarrow.field("rows", pyarrow.list_(pyarrow.int32())),
    ]
)


def write(output_dir: str, shard: str, found: RowDocuments) -> dict:
    """Writes the provenance file of a shard, the same bytes on every run.

    Returns:
      Its entry in that of the shard in dataset.json: name, documents, bytes, SHA-256, and documents by licence.
    """
    sizes = np.diff(found.starts)
    order = [index for index in sorted(range(len(sizes)), key=lambda i: _key(found, i)) if sizes[index]]
    counts = sizes[order].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts) + np.repeat(found.starts[:-1][order], counts)
    origins = [found.origins[index] for index in order]
    columns = {
        "id": [found.identities[index][: provenance.ID_BYTES] for index in order],
        **{name: [getattr(origin, name) for origin in origins] for name in provenance.Origin._fields},
        "rows": pyarrow.ListArray.from_arrays(
            pyarrow.array(offsets.astype(np.int32)), pyarrow.array(found.rows[places].astype(np.int32))
        ),
    }
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table(columns, _SCHEMA),
        buffer,
        compression="zstd",
        use_dictionary=list(_TEXT),
        column_encoding={"offset": "DELTA_BINARY_PACKED", "rows.list.element": "DELTA_BINARY_PACKED"},
        store_schema=False,
    )
    data = buffer.getvalue()
    name = provenance.file_name(shard)
    files.write_bytes(files.join(output_dir, name), data)
    digest = hashlib.sha256(data).hexdigest()
    licences = collections.Counter(origin.licence or card.UNKNOWN for origin in origins)
    return {
        "name": name,
        "documents": len(order),
        "bytes": len(data),
        "sha256": digest,
        "licences": dict(sorted(licences.items(), key=lambda item: (-item[1], item[0]))[:_MOST_LICENCES]),
    }


def _key(found: RowDocuments, index: int) -> tuple:
    origin = found.origins[index]
    return origin.file, origin.unit, origin.offset, found.identities[index]
