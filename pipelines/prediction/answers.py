"""Answers -> the bytes of a shard: JSON lines or Parquet, the same for the same answers."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from bert_tf.core.errors import InputError
from pipelines.prediction.description import Signature

FORMATS = ("jsonl", "parquet")
_TYPES = {"string": pyarrow.string(), "float32": pyarrow.float32(), "int32": pyarrow.int32(), "int64": pyarrow.int64()}
_ROWS_OF_A_GROUP = 10_000


def check_columns(signatures: Sequence[Signature], keep: Sequence[str], keep_inputs: bool) -> None:
    """Refuses columns to keep that have the name of an output or input.

    Raises:
      InputError: naming the column.
    """
    for signature in signatures:
        taken = {*signature.outputs, *(signature.fields if keep_inputs else ())}
        for name in keep:
            if name in taken:
                raise InputError(
                    f"--keep_fields {name}: expected columns that the answers do not have. They have: "
                    f"{', '.join(sorted(taken))}."
                )


def encoded(rows: Iterable[dict[str, Any]], form: str, schema: pyarrow.Schema) -> bytes:
    """The content of a shard.

    Args:
      rows: one dict an answer.
      form: one of FORMATS.
      schema: see `schema_of`.
    """
    if form == "jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode("utf-8")
    kinds = {field.name: field.type for field in schema}
    columns = [{name: _value(value, kinds[name]) for name, value in row.items()} for row in rows]
    table = pyarrow.Table.from_pylist(columns, schema=schema)
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd", row_group_size=_ROWS_OF_A_GROUP)
    return sink.getvalue().to_pybytes()


def schema_of(signatures: Sequence[Signature], keep: Sequence[str], keep_inputs: bool) -> pyarrow.Schema:
    """The columns of Parquet: inputs, kept columns, outputs of all signatures. An answer has those of one."""
    found: dict[str, pyarrow.DataType] = {}
    for signature in signatures:
        for name in signature.fields if keep_inputs else ():
            found[name] = pyarrow.list_(pyarrow.string()) if name in signature.lists else pyarrow.string()
    found |= dict.fromkeys(keep, pyarrow.string())
    for signature in signatures:
        for name, (dtype, axes) in signature.outputs.items():
            kind = _TYPES[dtype]
            for _ in range(axes):
                kind = pyarrow.list_(kind)
            found[name] = kind
    return pyarrow.schema(list(found.items()))


def _value(value: Any, kind: pyarrow.DataType) -> Any:
    """A kept column may hold anything: what is no text becomes its JSON."""
    is_other = kind == pyarrow.string() and value is not None and not isinstance(value, str)
    return json.dumps(value, ensure_ascii=False) if is_other else value
