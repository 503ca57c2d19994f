"""The values of --input -> parts of files, each of which one worker reads."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from bert_tf.core import tfds_name
from bert_tf.core.errors import InputError

PART_BYTES = 64 << 20
# Text in a compressed file, as a multiple of the file's size. For an estimate only.
_EXPANSION = {".gz": 3.5, ".bz2": 4.5, ".xz": 4.5, ".zst": 3.5, ".parquet": 2.0}


class Part(NamedTuple):
    """The documents of a file that begin in [start, end).

    Attributes:
      path: the file.
      start, end: bytes; end is None for the whole file.
      dataset: the folder of the TFDS dataset that the file belongs to, or "" for other files.
    """

    path: str
    start: int = 0
    end: int | None = None
    dataset: str = ""


class BadRecord(NamedTuple):
    """A record without a document.

    Attributes:
      path: the file.
      unit: what the position counts: "line", "row" or "record", from 1; or "byte", from 0, for the beginning of a line
        in all but the first part of a file that several workers read.
      position: of the record.
      reason: why it is bad.
    """

    path: str
    unit: str
    position: int
    reason: str


class InputFile(NamedTuple):
    """A file to read."""

    path: str
    bytes: int
    modified: float
    dataset: str = ""

    @property
    def text_bytes(self) -> float:
        """An estimate of the text in it, from its size and name."""
        return self.bytes * _EXPANSION.get(os.path.splitext(self.path)[1], 1.0)

    def parts(self) -> Iterable[Part]:
        """One part for every 64 MB, so that one large file keeps many workers busy."""
        if self.dataset:
            yield Part(self.path, dataset=self.dataset)
            return
        # A file that grew since it was listed is read to its end all the same.
        starts = list(range(0, max(1, self.bytes), PART_BYTES))
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            yield Part(self.path, start, end)


def match_files(patterns: list[str]) -> list[InputFile]:
    """The files of globs and TFDS datasets, each once, sorted by path.

    Args:
      patterns: globs; or prepared datasets as in tfds_name.py, whose split is "train" by default.

    Raises:
      InputError: a glob matches nothing, or a dataset does not exist.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = _dataset_files(pattern) if pattern.startswith(tfds_name.PREFIX) else _matched(pattern)
        files.update((file.path, file) for file in found)
    return [files[path] for path in sorted(files)]


def _matched(pattern: str) -> list[InputFile]:
    try:
        found: list[FileMetadata] = FileSystems.match([pattern])[0].metadata_list
    except Exception as error:  # each file system raises its own kind
        raise InputError(f"--input {pattern}: expected a readable glob. Received: {error}.") from None
    files = [file for file in found if not os.path.isdir(file.path)]
    if not files:
        what = "a folder; a glob of its files ends in /*" if found else "a glob that matches nothing"
        raise InputError(f"--input {pattern}: expected at least one file. Received {what}.")
    return [InputFile(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in files]


def _dataset_files(pattern: str) -> list[InputFile]:
    import tensorflow_datasets as tfds

    name, split = tfds_name.parse(pattern, default_split="train", where="--input ")
    try:
        is_folder = FileSystems.exists(FileSystems.join(name, "dataset_info.json"))
        builder = tfds.builder_from_directory(name) if is_folder else tfds.builder(name)
    except Exception as error:  # TFDS raises its own kinds, and those of what it loads
        raise InputError(
            f"--input {pattern}: expected a dataset that TFDS knows, or the folder of one. "
            f"Received: {str(error).splitlines()[0].rstrip('.')}."
        ) from None
    if split not in builder.info.splits:
        there = ", ".join(builder.info.splits) or f"no data in {builder.data_dir}; `tfds build {name}` prepares it"
        raise InputError(f'--input {pattern}: expected a split "{split}". Received a dataset with {there}.')
    if builder.info.file_format.value != "tfrecord":
        raise InputError(f"--input {pattern}: expected TFRecord files. Received {builder.info.file_format.value}.")
    paths = [os.fspath(path) for path in builder.info.splits[split].filepaths]
    return [file._replace(dataset=os.fspath(builder.data_dir)) for path in paths for file in _matched(path)]
