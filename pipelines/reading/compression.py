"""Compressed files: gzip, bzip2, xz and zstd, recognized by their first bytes; and the names of what is not read."""

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from backports import zstd

from pipelines.reading.streams import Derived

_INPUT_AT_ONCE = 1 << 16
_OUTPUT_AT_ONCE = 1 << 18
ERRORS = (EOFError, OSError, lzma.LZMAError, zlib.error, zstd.ZstdError)
_MAGIC_BYTES = 10  # as many as _COMPRESSIONS looks at


class Compression(NamedTuple):
    """A kind of compressed data: a sequence of gzip's members, bzip2's or xz' streams, zstd's frames.

    Attributes:
      name: as its users call it.
      begins: matches the first bytes of a member.
      decompressor: makes an object like bz2.BZ2Decompressor for one member.
      padding: zero bytes may follow a member, in multiples of this; 0 = none.
    """

    name: str
    begins: re.Pattern[bytes]
    decompressor: Callable
    padding: int


class _GzipDecompressor:
    """zlib's decompressor of one gzip member with the interface of bz2's and lzma's."""

    def __init__(self):
        self._zlib = zlib.decompressobj(31)  # a gzip header and a window of any size

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


def _zstd_decompressor() -> zstd.ZstdDecompressor:
    # As of `zstd --long=31`: by default only windows of up to 128 MB are read.
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 31})


_COMPRESSIONS = (
    Compression("gzip", re.compile(rb"\x1f\x8b"), _GzipDecompressor, padding=1),
    Compression("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor, padding=0),
    Compression("xz", re.compile(rb"\xfd7zXZ\0"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), padding=4),
    # A frame, or a skippable frame: pzstd and seekable zstd write such ones.
    Compression("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd_decompressor, padding=0),
)
# What nothing here reads, by its first bytes, and what to do with it.
_FOREIGN = (
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive; unpack it"),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), "a zip archive; unpack it"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive; unpack it"),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive; unpack it"),
    (re.compile(rb"\x04\x22\x4d\x18"), "an LZ4 file; decompress it"),
    (re.compile(rb"\xff\x06\0\0sNaPpY"), "a Snappy file; decompress it"),
    (re.compile(rb"\x1f\x9d"), "a file of compress (.Z); decompress it"),
    (re.compile(rb"LZIP\x01"), "an lzip file; decompress it"),
    (re.compile(rb"\x5d\0\0"), "an .lzma file; decompress it, or use xz"),
    (re.compile(rb"[\x22-\x27]\xb5\x2f\xfd"), "zstd of a version before 0.8; compress it again"),
    (re.compile(rb"Obj\x01"), "an Avro file; convert it to Parquet"),
    (re.compile(rb"ARROW1\0\0"), "an Arrow or Feather file; convert it to Parquet"),
    (re.compile(rb"%PDF-"), "a PDF; convert it to text"),
    (re.compile(rb"\s*<mediawiki"), "a dump of MediaWiki; extract its text with WikiExtractor"),
)


def compression_of(head: bytes) -> Compression | None:
    """The compression of a file with this beginning."""
    return next((kind for kind in _COMPRESSIONS if kind.begins.match(head)), None)


def foreign_format(head: bytes) -> str | None:
    """What a file with this beginning is and what to do with it, if it is a known kind that is not read."""
    return next((name for begins, name in _FOREIGN if begins.match(head)), None)


class Decompressed(Derived):
    """The content of all members of a compressed file.

    Attributes:
      trailing: what follows the last member, if that is no member; the stream ends before it.
    """

    def __init__(self, source: io.BufferedReader, kind: Compression):
        super().__init__(source)
        self.trailing: str | None = None
        self._kind = kind
        self._decompressor: Any = None
        self._input = b""  # not given to the decompressor yet
        self._is_first = True

    def _make(self) -> bytes:
        while self.trailing is None:
            if self._decompressor is None:
                if not self._at_member():
                    break
                self._decompressor = self._kind.decompressor()
            data = b""
            if needs_input := self._decompressor.needs_input:
                data, self._input = self._input or self._source.read1(_INPUT_AT_ONCE), b""
            made = self._decompressor.decompress(data, _OUTPUT_AT_ONCE)
            self._used += len(data)
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data
                self._used -= len(self._input)
                self._decompressor = None
            elif needs_input and not data and not made:
                raise EOFError(f"the file ends within its {self._kind.name} data")
            if made:
                return made
        return b""

    def _at_member(self) -> bool:
        """Whether another member begins here, behind padding."""
        zeros = 0
        while True:
            if self._kind.padding and not self._is_first:
                stripped = self._input.lstrip(b"\0")
                zeros += len(self._input) - len(stripped)
                self._input = stripped
            if len(self._input) >= _MAGIC_BYTES or not (more := self._source.read1(_INPUT_AT_ONCE)):
                break
            self._input += more
        self._is_first = False
        if self._kind.padding and zeros % self._kind.padding:
            self.trailing = f"{zeros} zero bytes behind its {self._kind.name} data, which are no padding"
            return False
        if self._input and not self._kind.begins.match(self._input):
            self.trailing = f"bytes behind the end of its {self._kind.name} data that are none"
            return False
        self._used += zeros
        return bool(self._input)
