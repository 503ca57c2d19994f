"""Parquet: a document in each row of a column. The bytes of a file are shared equally among its rows."""

import io
from collections.abc import Iterator

import pyarrow
import pyarrow.parquet

from bert_tf.core.errors import reason_of
from pipelines.reading.formats.fields import TOO_LARGE, Fields, NoDocument
from pipelines.reading.inputs import Part
from pipelines.reading.outcomes import Problem, Span
from pipelines.reading.streams import storage_failed

MAGIC = b"PAR1"
_ROWS_AT_ONCE = 1024
# Of files that are damaged: names that are no UTF-8 and the like, beside what pyarrow raises.
ERRORS = (pyarrow.ArrowException, OSError, EOFError, ValueError, KeyError, IndexError, OverflowError)


def parquet_rows(part: Part, file: io.BufferedReader, fields: Fields, max_bytes: int) -> Iterator[Span]:
    """The rows of the row groups that begin in the part.

    Args:
      part: of the file; the first one tells what is wrong with the whole file.
      file: the file, which can seek.
      fields: the columns, and what they make.
      max_bytes: of a document.
    """
    size = file.seek(0, io.SEEK_END)
    try:
        table = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        columns = table.schema_arrow.names
        total = sum(max(0, group.num_rows) for group in groups)
        starts = [group.column(0).data_page_offset if group.num_columns else 0 for group in groups]
        problem = _without(fields, columns)
    except ERRORS as error:
        if storage_failed(error):
            raise
        problem = Problem("byte", 0, f"no whole Parquet file: {reason_of(error)}", lost=True, cut=True)
    if problem is not None or not total:
        if part.start == 0:
            yield Span(0, size, problem=problem)
        return
    row = 0
    for number, (group, start) in enumerate(zip(groups, starts, strict=True)):
        count = max(0, group.num_rows)
        if max(0, start) >= part.start and (part.end is None or start < part.end):
            yield from _group_rows(table, number, (row, count), lambda row: size * row // total, fields, max_bytes)
        row += count


def _without(fields: Fields, columns: list[str]) -> Problem | None:
    for name in fields.names:
        times = columns.count(name)
        if times != 1:
            reason = f'no column "{name}" but {", ".join(columns)} (--text_field)'
            return Problem("byte", 0, f'{times} columns "{name}"' if times else reason, lost=True)
    return None


def _group_rows(table, number: int, rows: tuple[int, int], locate, fields: Fields, max_bytes: int) -> Iterator[Span]:
    first, count = rows
    row, end = first, first + count
    problem = None
    try:
        labels = [name for name in fields.labels if table.schema_arrow.names.count(name) == 1]
        names = [*fields.names, *labels]
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[number], columns=names):
            columns = [_as_bytes(batch.column(name)).to_pylist() for name in fields.names]
            columns += [batch.column(name).to_pylist() for name in labels]
            for values in zip(*columns, strict=True):
                if row == end:
                    break
                yield from _row(dict(zip(names, values, strict=True)), row, locate, fields, max_bytes)
                row += 1
    except ERRORS as error:
        if storage_failed(error):
            raise
        problem = f"a row group that cannot be read: {reason_of(error)}"
    if row < end:
        reason = problem or f"{row - first} rows where the file promises {count}"
        yield Span(locate(row), locate(end), problem=Problem("row", row + 1, reason, lost=True))


def _row(record: dict, row: int, locate, fields: Fields, max_bytes: int) -> Iterator[Span]:
    start, end = locate(row), locate(row + 1)
    try:
        document = fields.document(record)
    except NoDocument as error:
        yield Span(start, end, problem=Problem("row", row + 1, str(error)))
        return
    if len(document.text) * 4 > max_bytes and len(document.text.encode()) > max_bytes:
        yield Span(start, end, problem=Problem("row", row + 1, TOO_LARGE.format(max_bytes), lost=True))
    else:
        yield Span(start, end, (document._replace(offset=row, unit="row"),))


def _as_bytes(column: pyarrow.Array) -> pyarrow.Array:
    """Text as bytes, since Parquet does not check that it is UTF-8; other types as they are."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        return column.cast(pyarrow.large_binary())
    if pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
        values = column.type.value_type
        if pyarrow.types.is_string(values) or pyarrow.types.is_large_string(values):
            return column.cast(pyarrow.large_list(pyarrow.large_binary()))
    return column
