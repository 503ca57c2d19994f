"""Reads a file as a job does, in one part or several, and adds up its bytes."""

import os
from typing import NamedTuple

from pipelines.reading.inputs import Part
from pipelines.reading.outcomes import BadRecord, BytesRead, Loss
from pipelines.reading.readers import Format, read_part


class Found(NamedTuple):
    """What a file gave, in order."""

    documents: list[str]
    bad: list[BadRecord]
    losses: list[Loss]


def read(path, cuts=(), dataset: str = "", **file_format) -> Found:
    """Reads a file in parts that are cut at the given bytes.

    Raises:
      AssertionError: the bytes read, in bad records and in losses do not add up to the file.
    """
    starts = sorted({0, *cuts})
    found = Found([], [], [])
    total = 0
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        for one in read_part(Part(str(path), start, end, dataset), Format(**file_format)):
            if isinstance(one, list):
                assert all(isinstance(document.text, str) for document in one)
                found.documents.extend(document.text for document in one)
                continue
            assert one.bytes >= 0, one
            total += one.bytes
            if not isinstance(one, BytesRead):
                (found.bad if isinstance(one, BadRecord) else found.losses).append(one)
    assert total == os.path.getsize(path), (total, os.path.getsize(path), found.bad, found.losses)
    return found
