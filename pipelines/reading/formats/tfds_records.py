"""TFDS datasets: a document in a feature of each example."""

import functools
from collections.abc import Iterator
from typing import BinaryIO

from bert_tf.core import record_files
from bert_tf.core.errors import reason_of
from pipelines.reading.formats.fields import TOO_LARGE, Fields, NoDocument
from pipelines.reading.inputs import Part, builder_of
from pipelines.reading.outcomes import Document, Problem, Span

_FRAME_BYTES = 16  # of a record, around its data


def dataset_records(part: Part, file: BinaryIO, size: int, fields: Fields, max_bytes: int) -> Iterator[Span]:
    """The records of a TFRecord file of a dataset; its features are in the dataset's folder.

    Args:
      part: the whole file.
      file: the file at its beginning.
      size: of the file.
      fields: the features, and what they make.
      max_bytes: of a document.
    """
    features = _features(part.dataset)
    if missing := [name for name in fields.names if name not in features]:
        reason = f'no feature "{missing[0]}" but {", ".join(sorted(features))} (--text_field)'
        yield Span(0, size, problem=Problem("byte", 0, reason, lost=True))
        return
    number = start = 0
    try:
        for number, serialized in enumerate(record_files.read_records(file), start=1):
            end = start + _FRAME_BYTES + len(serialized)
            found = _record(features, serialized, number, start, fields, max_bytes)
            yield Span(start, end, problem=found) if isinstance(found, Problem) else Span(start, end, (found,))
            start = end
    except EOFError as error:
        yield Span(start, size, problem=Problem("record", number + 1, str(error), lost=True, cut=True))
        return
    if part.records is not None and number < part.records:
        reason = f"the file ends after {number} of {part.records} records, of which dataset_info.json tells"
        yield Span(start, start, problem=Problem("record", number + 1, reason, lost=True, cut=True))


def _record(features, serialized: bytes, number: int, start: int, fields: Fields, max_bytes: int) -> Document | Problem:
    try:
        record = features.deserialize_example_np(serialized)
    except Exception as error:  # TFDS raises what its features and protobuf raise
        return Problem("record", number, f"no example of this dataset: {reason_of(error)}")
    try:
        document = fields.document(record)
    except NoDocument as error:
        return Problem("record", number, str(error))
    if len(document.text.encode()) > max_bytes:
        return Problem("record", number, TOO_LARGE.format(max_bytes), lost=True)
    return document._replace(offset=start)


@functools.lru_cache(maxsize=1)
def _features(folder: str):
    return builder_of(folder).info.features
