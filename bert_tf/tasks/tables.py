"""Labelled text files -> columns."""

import json
import os
from collections.abc import Iterator, Sequence

from bert_tf.errors import InputError


def read_columns(path: str, fields: Sequence[str], config_field: str) -> list[list[str]]:
    """Reads the named columns of a .jsonl or .tsv file (with a header line), as strings.

    Args:
      path: the file.
      fields: column names.
      config_field: the config field or flag that names the file, for errors.

    Returns:
      One list a field, of equal lengths.

    Raises:
      InputError: no such file, another ending, a missing column, a broken line, or no line at all.
    """
    readers = {".jsonl": _jsonl_rows, ".tsv": _tsv_rows}
    ending = os.path.splitext(path)[1]
    if ending not in readers:
        raise InputError(f"{config_field}={path}: expected a file ending in {' or '.join(readers)}.")
    columns: list[list[str]] = [[] for _ in fields]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in readers[ending](file, path):
                for column, field in zip(columns, fields, strict=True):
                    if row.get(field) is None:
                        raise InputError(
                            f"{path}:{number}: expected a column {field!r}. Received: {', '.join(map(str, row))}."
                        )
                    if not isinstance(row[field], str | int | float):
                        kind = type(row[field]).__name__
                        raise InputError(f"{path}:{number}: {field}: expected text or a number. Received: {kind}.")
                    # JSON can name half of a surrogate pair, which no UTF-8 can hold.
                    text = str(row[field]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                    column.append(text)
    except OSError as error:
        raise InputError(f"{config_field}={path}: expected a file of examples. Received: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{config_field}={path}: expected UTF-8. Received invalid bytes at {error.start}.") from None
    if not columns[0]:
        raise InputError(f"{config_field}={path}: expected at least one example. Received an empty file.")
    return columns


def _jsonl_rows(file, path: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: expected JSON. Received: {error.msg}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected a JSON object. Received: {type(row).__name__}.")
        yield number, row


def _tsv_rows(file, path: str) -> Iterator[tuple[int, dict]]:
    # Split by hand: tab-separated data sets of the field (GLUE among them) do not quote, and csv limits a field's size.
    header = None
    for number, line in enumerate(file, start=1):
        cells = line.rstrip("\r\n").split("\t")
        if header is None:
            header = cells
        elif len(cells) != len(header):
            raise InputError(f"{path}:{number}: expected {len(header)} columns. Received {len(cells)}.")
        else:
            yield number, dict(zip(header, cells, strict=True))
