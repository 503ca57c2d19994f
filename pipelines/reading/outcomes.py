"""Results of reading: documents, bad records, losses and bytes read. Their bytes add up to the size of a file."""

from collections.abc import Sequence
from typing import NamedTuple

from bert_tf.core.provenance import Origin


class Document(NamedTuple):
    """A document and where it stands.

    Attributes:
      text: of the document, or what Fields make of a record.
      offset, unit, source, licence, file: see bert_tf/core/provenance.py.
      part: the first byte of the part of the file.
      number: how many documents of the part come before this one.
    """

    text: str
    offset: int = 0
    unit: str = "byte"
    source: str | None = None
    licence: str | None = None
    file: str = ""
    part: int = 0
    number: int = 0

    @property
    def origin(self) -> Origin:
        """What the provenance files say of it."""
        return Origin(self.file, self.unit, self.offset, self.source, self.licence)


class BadRecord(NamedTuple):
    """A record without a document.

    Attributes:
      path: the file.
      unit: what the position counts: "line", "row" or "record", from 1; or "byte", from 0, for the beginning of a line
        in all but the first part of a file that several workers read.
      position: of the record.
      reason: why it is bad.
      bytes: of the file.
    """

    path: str
    unit: str
    position: int
    reason: str
    bytes: int


class Loss(NamedTuple):
    """Bytes of a file that no record bounds: a file that breaks off or is of another kind, or a document too large.

    Attributes:
      path, unit, position, reason: as in BadRecord.
      bytes: not read.
      weight: what --max_lost_fraction counts: these bytes; or those of the whole file where data is missing or damaged,
        since nobody knows how much.
    """

    path: str
    unit: str
    position: int
    reason: str
    bytes: int
    weight: int


class BytesRead(NamedTuple):
    """Bytes of a file in documents and between them. With those of its bad records and losses: the whole file."""

    path: str
    bytes: int


class Problem(NamedTuple):
    """Why a span of a file gives no document.

    Attributes:
      unit, position, reason: as in BadRecord.
      lost: a Loss and no BadRecord.
      cut: data behind it is missing, or data before it is damaged.
    """

    unit: str
    position: int
    reason: str
    lost: bool = False
    cut: bool = False


class Span(NamedTuple):
    """The bytes [start, end) of a stream: documents with what separates them, or a problem."""

    start: int
    end: int
    documents: Sequence[Document] = ()
    problem: Problem | None = None
