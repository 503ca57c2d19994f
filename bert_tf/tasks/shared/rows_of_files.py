"""Files of examples -> rows of named values: JSON lines, CSV, TSV, and TensorFlow Datasets by name or folder."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping

from bert_tf.core import tfds_name
from bert_tf.core.errors import InputError, reason_of
from bert_tf.core.stores import objects
from bert_tf.core.stores.cache import local_folder


def read_rows(path: str, config_field: str) -> list[tuple[str, dict]]:
    """All rows of a file or data set.

    Args:
      path: .jsonl (or .json, of JSON lines), .csv or .tsv (with a header), or a TFDS dataset as in
        tfds_name.py, whose split is the last word of config_field by default.
      config_field: the config field or flag that names the file, for errors.

    Returns:
      (place, row): where the row stands, for errors, and its values by column.

    Raises:
      InputError: no such file, another ending, a broken line, or no line at all.
    """
    if path.startswith(tfds_name.PREFIX):
        rows = list(_tfds_rows(path, config_field))
    else:
        readers = {".jsonl": _jsonl_rows, ".json": _jsonl_rows, ".csv": _csv_rows, ".tsv": _tsv_rows}
        rows = read_lines(path, config_field, readers)
    if not rows:
        raise InputError(f"{config_field}={path}: expected at least one example. Received an empty file.")
    return rows


def read_examples(
    path: str,
    config_field: str,
    columns: Mapping[str, str | None],
    more: Callable[[dict, str], dict] = lambda row, place: {},
) -> list[dict]:
    """The rows of a file as examples: their place, the texts of `columns`, and what `more` finds in a row.

    Args:
      path, config_field: see read_rows.
      columns: {key of the example: column}; None for no such text.
      more: (row, place) -> more of the example.
    """
    return [
        {
            "place": place,
            **{key: text_of(row, column, place) for key, column in columns.items() if column is not None},
            **more(row, place),
        }
        for place, row in read_rows(path, config_field)
    ]


def read_lines(path: str, config_field: str, readers: dict[str, Callable]) -> list:
    """What the reader for the path's ending makes of the opened file.

    Raises:
      InputError: no such file, another ending, or no UTF-8.
    """
    ending = os.path.splitext(path)[1]
    if ending not in readers:
        *first, last = [*readers, f"{tfds_name.PREFIX}NAME"]
        raise InputError(f"{config_field}={path}: expected a file ending in {', '.join(first)} or {last}.")
    try:
        with (
            io.TextIOWrapper(objects.open_to_read(path), "utf-8-sig", newline="")
            if objects.is_remote(path)
            else open(path, encoding="utf-8-sig", newline="")
        ) as file:
            return list(readers[ending](file, path))
    except OSError as error:
        raise InputError(f"{config_field}={path}: expected a file of examples. Received: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{config_field}={path}: expected UTF-8. Received the byte {error.object[error.start]:#04x}."
        ) from None


def text_of(row: dict, column: str, place: str) -> str:
    """A value as text.

    Raises:
      InputError: there is no such column, or it holds a list or an object.
    """
    value = value_of(row, column, place)
    if not isinstance(value, str | int | float):
        raise InputError(f"{place}: {column}: expected text or a number. Received: {type(value).__name__}.")
    # JSON can name half of a surrogate pair, which no UTF-8 can hold.
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def value_of(row: dict, column: str, place: str):
    """A value as it is.

    Raises:
      InputError: there is no such column, or nothing in it.
    """
    if row.get(column) is None:
        raise InputError(f"{place}: expected a column {column!r}. Received: {', '.join(map(str, row))}.")
    return row[column]


def list_of(row: dict, column: str, place: str) -> list[str]:
    """A value that is a list, of texts.

    Raises:
      InputError: it is something else.
    """
    values = value_of(row, column, place)
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise InputError(f"{place}: {column}: expected a list of texts. Received: {type(values).__name__}.")
    return [text_of({column: value}, column, place) for value in values]


def _jsonl_rows(file, path: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: expected JSON. Received: {error.msg}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected a JSON object. Received: {type(row).__name__}.")
        yield f"{path}:{number}", row


def _tsv_rows(file, path: str) -> Iterator[tuple[str, dict]]:
    # Split by hand: tab-separated data sets of the field (GLUE among them) do not quote, and csv limits a field's size.
    header = None
    for number, line in enumerate(file, start=1):
        cells = line.rstrip("\r\n").split("\t")
        if header is None:
            header = cells
        elif cells != [""] or len(header) == 1:  # an empty line is a row where there is one column
            yield f"{path}:{number}", _by_column(header, cells, f"{path}:{number}")


def _csv_rows(file, path: str) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(file, strict=True)
    header = None
    try:
        for cells in reader:
            if header is None:
                header = cells
            elif cells:  # csv gives an empty line as no cells
                yield f"{path}:{reader.line_num}", _by_column(header, cells, f"{path}:{reader.line_num}")
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: expected CSV. Received: {error}.") from None


def _by_column(header: list[str], cells: list[str], place: str) -> dict[str, str]:
    if len(cells) != len(header):
        raise InputError(f"{place}: expected {len(header)} columns. Received {len(cells)}.")
    return dict(zip(header, cells, strict=True))


def _tfds_rows(path: str, config_field: str) -> Iterator[tuple[str, dict]]:
    import tensorflow_datasets as tfds

    default_split = config_field.rsplit(".", 1)[-1].lstrip("-")
    name, split = tfds_name.parse(path, default_split=default_split, where=f"{config_field}=")
    expected = f"{config_field}={path}: expected the name of a TensorFlow data set, or a folder with one,"
    try:
        if objects.is_remote(name) or os.path.isdir(name):
            builder = tfds.builder_from_directory(local_folder(name))
        else:
            builder = tfds.builder(name)
            builder.download_and_prepare()
        if split not in builder.info.splits:
            raise InputError(f"{expected} with a split {split}. It has: {', '.join(builder.info.splits)}.")
        features = builder.info.features
        for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
            yield f"{path}[{number}]", {key: _plain(value, features[key]) for key, value in example.items()}
    except InputError:
        raise
    except Exception as error:  # whatever TFDS raises for a name it does not know or cannot download
        raise InputError(f"{expected} which is here or can be downloaded. Received: {reason_of(error)}.") from None


def _plain(value, feature):
    """NumPy's values as JSON's; a class as its name."""
    if isinstance(value, dict):
        return {key: _plain(part, feature[key]) for key, part in value.items()}
    if getattr(value, "ndim", 0):
        # A sequence of dictionaries comes as a dictionary of arrays, whose features are those of single values.
        inner = getattr(feature, "feature", None) or feature
        return [_plain(part, inner) for part in value]
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if int(value) >= 0 else None  # -1: the label is kept secret
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else value
