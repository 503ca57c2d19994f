"""Streams of bytes made from other streams, which know how far they are in the file at the bottom."""

import codecs
import collections
import errno
import io
import re

from apache_beam.io.filesystem import BeamIOError

_AT_ONCE = 1 << 17
BUFFER_BYTES = 1 << 20
_CARRIAGE_RETURN = re.compile(rb"\r(?!\n)")
# The longer marks first: UTF-32's begins as UTF-16's does.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# What a file without a byte order mark is read as; the codecs of these names want one.
_OTHER_NAMES = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_NOT_OF_FILES = re.compile("escape|idna|punycode")  # Python's and the internet's notations, which are codecs as well
_UNDECODABLE = "bert_tf.undecodable"
# Half of a surrogate pair: UTF-8 does not allow it, so the document around it is found bad and no other one.
codecs.register_error(_UNDECODABLE, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


class Derived(io.RawIOBase):
    """Bytes made from another stream's.

    An error of the source is raised after all bytes that could be made before it.
    """

    def __init__(self, source: io.BufferedReader):
        self._source = source
        self._used = 0  # bytes of the source that the bytes made so far stand for
        self._made = 0
        self._pending = b""
        self._error: Exception | None = None
        self._marks = collections.deque([(0, 0)])  # (bytes made, bytes used)

    def _make(self) -> bytes:
        """The next bytes, b"" at the end; sets _used."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        """Fills the buffer if it can, so that what a stream begins with does not depend on how it is stored."""
        view, filled = memoryview(buffer), 0
        while filled < len(view):
            if not self._pending and not self._advance():
                break
            piece = self._pending[: len(view) - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._pending = self._pending[len(piece) :]
        if not filled and self._error is not None:
            raise self._error
        return filled

    def _advance(self) -> bool:
        if self._error is None:
            try:
                self._pending = self._make()
            except Exception as error:  # each library raises its own kinds; kept, not handled
                self._error = error
            self._made += len(self._pending)
            self._marks.append((self._made, self._used))
        return bool(self._pending)

    def source_offset(self, offset: int) -> int:
        """How many bytes of the source stand for the first `offset` bytes: in between, by proportion.

        Args:
          offset: not less than in an earlier call.
        """
        while len(self._marks) > 1 and self._marks[1][0] <= offset:
            self._marks.popleft()
        made, used = self._marks[0]
        if len(self._marks) == 1:
            return used
        next_made, next_used = self._marks[1]
        return used + (offset - made) * (next_used - used) // (next_made - made)


class Transcoded(Derived):
    """Text of another encoding as UTF-8; what cannot be decoded is not valid UTF-8 either."""

    def __init__(self, source: io.BufferedReader, encoding: str):
        super().__init__(source)
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)

    def _make(self) -> bytes:
        while data := self._source.read1(_AT_ONCE):
            self._used += len(data)
            if text := self._decoder.decode(data):
                return text.encode("utf-8", "surrogatepass")
        return self._decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


class CarriageReturns(io.RawIOBase):
    """A file whose lines end in carriage returns, with line feeds instead: byte for byte, so it can be divided."""

    def __init__(self, source: io.BufferedReader):
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def readinto(self, buffer) -> int:
        data = self._source.read1(len(buffer))
        is_pair = data.endswith(b"\r") and self._source.peek(1)[:1] == b"\n"
        data = _CARRIAGE_RETURN.sub(b"\n", data[:-1]) + b"\r" if is_pair else _CARRIAGE_RETURN.sub(b"\n", data)
        buffer[: len(data)] = data
        return len(data)


def has_carriage_returns_only(head: bytes) -> bool:
    """Whether lines end as on old Macs. The last byte of the head may be half of a line end."""
    return b"\r" in head[:-1] and b"\n" not in head


def encoding_of(head: bytes, given: str) -> str:
    """The encoding that a byte order mark names, or else the given one."""
    return next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), normalized_encoding(given))


def normalized_encoding(name: str) -> str:
    """The name of Python's codec of a text encoding; "utf-8" for all names of UTF-8.

    Raises:
      LookupError: no codec of this name that decodes text piece by piece.
    """
    found = codecs.lookup(name)
    if not found._is_text_encoding or found.incrementaldecoder is None or _NOT_OF_FILES.search(found.name):  # type: ignore[attr-defined]
        raise LookupError(f"{name} is no encoding of text")
    found.incrementaldecoder("strict").decode(b"", True)  # "undefined" fails here
    return _OTHER_NAMES.get(found.name, found.name)


def storage_failed(error: Exception) -> bool:
    """Whether the storage did not deliver a file, which is no fault of its content.

    Errors of the content have no errno, but for places in the file that make no sense.
    """
    is_of_storage = isinstance(error, BeamIOError | TimeoutError | ConnectionError)
    return is_of_storage or getattr(error, "errno", None) not in (None, errno.EINVAL)
