"""Files -> documents. Everything is opened through Beam's FileSystems, so gs:// and s3:// read like a local path."""

import json
import re
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from bert_tf.errors import InputError

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
    document. Compression is told by the ending (.gz, .bz2, .xz, .zst).
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
    with FileSystems.open(path) as file:
        for number, data in enumerate(iter(file.readline, b""), start=1):
            try:
                line = data.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{path}:{number}: expected UTF-8. Received bytes that are not.") from None
            if is_jsonl:
                if line.strip():
                    yield _json_text(line, path, number)
            elif line.strip():
                paragraph.append(line)
            elif paragraph:
                yield "".join(paragraph)
                paragraph = []
    if paragraph:
        yield "".join(paragraph)


def _json_text(line: str, path: str, number: int) -> str:
    try:
        text = json.loads(line)["text"]
        if isinstance(text, str):
            return text
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise InputError(f'{path}:{number}: expected a JSON object with a string "text". Received: {line.strip()[:80]!r}.')
