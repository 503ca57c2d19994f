"""Files -> documents. Everything is opened through Beam's FileSystems, so gs:// and s3:// read like a local path."""

import bz2
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from bert_tf.errors import InputError

# The standard library's readers, not Beam's, which take a truncated file for a whole one.
_DECOMPRESSORS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_JSONL = re.compile(r"\.jsonl(\.\w+)?$")


def match_files(patterns: list[str]) -> list[FileMetadata]:
    """The files that the globs name, each once, sorted by path.

    Raises:
      InputError: a glob matches nothing.
    """
    files = {}
    for pattern in patterns:
        try:
            found = FileSystems.match([pattern])[0].metadata_list
        except Exception as error:  # each file system raises its own kind
            raise InputError(f"--input {pattern}: expected a readable glob. Received: {error}.") from None
        if not found:
            raise InputError(f"--input {pattern}: expected at least one file. Received a glob that matches nothing.")
        files.update({metadata.path: metadata for metadata in found})
    return [files[path] for path in sorted(files)]


class ReadDocuments(beam.PTransform):
    """Paths -> documents (str).

    A `.jsonl` file holds one document a line in the field "text". Any other file is plain text: a blank line ends a
    document. Compression is told by the ending (.gz, .bz2, .xz).
    """

    def __init__(self, paths: list[str]):
        super().__init__()
        self._paths = paths

    def expand(self, root):
        return (
            root
            | "Paths" >> beam.Create(self._paths)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFile" >> beam.FlatMap(read_documents)
        )


def read_documents(path: str) -> Iterator[str]:
    """Yields the documents of one file.

    Raises:
      InputError: a line is not UTF-8, or not a JSON object with "text"; file and line are named.
    """
    is_jsonl = _JSONL.search(path) is not None
    paragraph: list[str] = []
    for number, line in _lines(path):
        if is_jsonl:
            if line.strip():
                yield _json_text(line, path, number)
        elif line.strip():
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """(number, line) without line ends and byte order mark: a document is the same wherever it stands."""
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as raw:
            ending = next((ending for ending in _DECOMPRESSORS if path.endswith(ending)), None)
            file = _DECOMPRESSORS[ending](raw) if ending else raw
            for number, data in enumerate(iter(file.readline, b""), start=1):
                try:
                    line = data.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise InputError(f"{path}:{number}: expected UTF-8. Received bytes that are not.") from None
                yield number, line.rstrip("\r\n")
    except (OSError, EOFError, lzma.LZMAError, zlib.error, BeamIOError) as error:
        raise InputError(f"{path}: expected a whole readable file. Received: {error}.") from None


def _json_text(line: str, path: str, number: int) -> str:
    try:
        text = json.loads(line)["text"]
        if isinstance(text, str):
            # JSON can name half of a surrogate pair, which no UTF-8 can hold.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise InputError(f'{path}:{number}: expected a JSON object with a string "text". Received: {line.strip()[:80]!r}.')
