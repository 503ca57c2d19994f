"""What the project needs of a store: five calls on whole objects. s3.py, gcs.py and local.py implement them.

Each of these modules has the class and `failure_of(error)`: the kind and the reason of an error of its client, None for
an error of the program.

Standard library only; the clients of the stores are imported when the first path of their scheme is used.
"""

import enum
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

TIMEOUT = (5.0, 15.0)  # seconds to connect, and to wait for the next bytes


class Status(NamedTuple):
    """An object.

    Attributes:
      key: its name in the bucket.
      bytes: its size.
      modified: seconds since 1970.
      version: changes with the content.
    """

    key: str
    bytes: int
    modified: float
    version: str


class Failure(enum.Enum):
    """Why a call failed; the value is what was expected instead."""

    NO_OBJECT = "an object that exists"
    NO_BUCKET = "a bucket that exists"
    DENIED = "permission to access it"
    NO_CREDENTIALS = "credentials"
    CHANGED = "an object that nobody changes meanwhile"
    REFUSED = "a server that can be reached"  # retried
    BUSY = "an answer of the server"  # retried
    OTHER = "a place that can be read and written"


class Store(Protocol):
    """A kind of store. Each call is one attempt and raises the errors of the store's client.

    >>> from bert_tf.core.stores.local import LocalFiles
    >>> [status.key for status in LocalFiles().listed("", "/nowhere/", shallow=True)]
    []
    """

    def stat(self, bucket: str, key: str) -> Status | None:
        """The object, or None if the bucket has none of this name."""
        ...

    def listed(self, bucket: str, prefix: str, *, shallow: bool) -> Iterator[Status]:
        """The objects whose keys begin with `prefix`; shallow: only those without a further slash behind it."""
        ...

    def read(self, bucket: str, status: Status, start: int, length: int) -> bytes:
        """A part of an object that has not changed since `status`; `length` lies inside of the object."""
        ...

    def write(self, bucket: str, key: str, file: BinaryIO, size: int, *, if_absent: bool) -> None:
        """Makes an object of a whole file. It appears at once, or not at all.

        Args:
          if_absent: fail with CHANGED if there is an object of this name.
        """
        ...

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Removes objects; those that do not exist are no error."""
        ...
