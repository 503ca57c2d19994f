"""The values of --input -> parts of files, each of which one worker reads."""

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from apache_beam.io.filesystem import FileMetadata

from bert_tf.core import tfds_name
from bert_tf.core.errors import InputError, StorageError, reason_of
from bert_tf.core.stores import objects
from pipelines.running import files as storage

PART_BYTES = 64 << 20
_GLOB = re.compile(r"[*?[]")
# Text in a compressed file, as a multiple of the file's size. For an estimate only.
_EXPANSION = {".gz": 3.5, ".bz2": 4.5, ".xz": 4.5, ".zst": 3.5, ".parquet": 2.0}


class Part(NamedTuple):
    """The documents of a file that begin in [start, end).

    Attributes:
      path: the file.
      start, end: bytes; end is None for the whole file.
      dataset: the folder of the TFDS dataset that the file belongs to, or "" for other files.
      records: how many the dataset promises in the file; None if it is not known.
    """

    path: str
    start: int = 0
    end: int | None = None
    dataset: str = ""
    records: int | None = None


class InputFile(NamedTuple):
    """A file to read."""

    path: str
    bytes: int
    modified: float
    dataset: str = ""
    records: int | None = None

    @property
    def text_bytes(self) -> float:
        """An estimate of the text in it, from its size and name."""
        return self.bytes * _EXPANSION.get(os.path.splitext(self.path)[1], 1.0)

    def parts(self) -> Iterable[Part]:
        """One part for every 64 MB, so that one large file keeps many workers busy."""
        if self.dataset:
            yield Part(self.path, dataset=self.dataset, records=self.records)
            return
        # A file that grew since it was listed is read to its end all the same.
        starts = list(range(0, max(1, self.bytes), PART_BYTES))
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            yield Part(self.path, start, end)


def match_files(patterns: list[str]) -> list[InputFile]:
    """The files of --input, each once, sorted by path.

    Files that a wildcard matches although their names, or those of their folders, begin with . or _ are left out and
    named in a warning: such are the notes of Spark and of file systems.

    Args:
      patterns: paths, globs (*, **, ?, [...]) or several of them with commas between; or prepared datasets as in
        tfds_name.py, whose split is "train" by default. A path that exists is no glob and has no commas between paths.

    Raises:
      InputError: a glob matches nothing, or a dataset does not exist.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = _dataset_files(pattern) if pattern.startswith(tfds_name.PREFIX) else _files(pattern)
        files.update((file.path, file) for file in found)
    return [files[path] for path in sorted(files)]


def _files(value: str) -> list[InputFile]:
    found = _matched(value)
    if not found and "," in value:
        return [file for pattern in value.split(",") if pattern for file in _files(pattern)]
    if not found:
        hint = "; {...} is no part of globs" if "{" in value else ""
        raise InputError(f"--input {value}: expected at least one file. Received a glob that matches nothing{hint}.")
    files = [file for file in found if not os.path.isdir(file.path)]
    if not files:
        raise InputError(
            f"--input {value}: expected at least one file. Received a folder; a glob of its files ends in /*."
        )
    if folders := len(found) - len(files):
        _warn(value, f"{folders} folders are not read; a glob of their files ends in /* or /**")
    shown = [file for file in files if not _is_hidden(file.path, value)]
    if not shown:
        raise InputError(
            f"--input {value}: expected at least one file. Received a glob that matches only files whose names begin "
            f"with . or _, such as {files[0].path}; to read them, start the pattern with . or _."
        )
    if len(shown) < len(files):
        first = next(file.path for file in files if file not in shown)
        hidden = len(files) - len(shown)
        _warn(
            value,
            f"{hidden} files are not read, since their names begin with . or _, such as {first}; to read them, start "
            "the pattern with . or _",
        )
    return [InputFile(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in shown]


def _warn(value: str, text: str) -> None:
    print(f"warning: --input {value}: {text}.", file=sys.stderr, flush=True)


def _matched(pattern: str) -> list[FileMetadata]:
    try:
        return storage.match(pattern)
    except StorageError as error:
        raise InputError(f"--input {error}") from None
    except Exception as error:  # each file system raises its own kind
        raise InputError(f"--input {pattern}: expected a readable glob. Received: {error}.") from None


def _is_hidden(path: str, pattern: str) -> bool:
    """Whether a wildcard matches a part of the path that begins with . or _, and no part of the glob does."""
    begins = _GLOB.search(pattern)
    if begins is None or path == pattern:
        return False
    folder = pattern.rfind("/", 0, begins.start()) + 1
    asked = {part[:1] for part in pattern[folder:].split("/")}
    return any(part[:1] in {".", "_"} - asked for part in path[folder:].split("/"))


def builder_of(folder: str):
    """TFDS' builder of a dataset's folder, which may be on a store: TensorFlow, which TFDS reads with, knows few."""
    import tensorflow_datasets as tfds

    if not objects.is_remote(folder):
        return tfds.builder_from_directory(folder)
    with tempfile.TemporaryDirectory() as copy:
        for name in objects.below(folder, shallow=True):
            if ".tfrecord" not in name:
                objects.copy(objects.join(folder, name), os.path.join(copy, name))
        return tfds.builder_from_directory(copy)


def _dataset_files(pattern: str) -> list[InputFile]:
    import tensorflow_datasets as tfds

    name, split = tfds_name.parse(pattern, default_split="train", where="--input ")
    try:
        is_folder = storage.exists(storage.join(name, "dataset_info.json"))
        builder = builder_of(name) if is_folder else tfds.builder(name)
    except StorageError as error:
        raise InputError(f"--input {pattern}: {error}") from None
    except Exception as error:  # TFDS raises its own kinds, and those of what it loads
        raise InputError(
            f"--input {pattern}: expected a dataset that TFDS knows, or the folder of one. "
            f"Received: {reason_of(error)}."
        ) from None
    if split not in builder.info.splits:
        there = ", ".join(builder.info.splits) or f"no data in {builder.data_dir}; `tfds build {name}` prepares it"
        raise InputError(f'--input {pattern}: expected a split "{split}". Received a dataset with {there}.')
    if builder.info.file_format.value != "tfrecord":
        raise InputError(f"--input {pattern}: expected TFRecord files. Received {builder.info.file_format.value}.")
    info = builder.info.splits[split]
    files = []
    # The description of a dataset on a store was read from a copy.
    folder = name if objects.is_remote(name) else os.fspath(builder.data_dir)
    paths = [storage.join(folder, os.path.basename(path)) for path in info.filepaths]
    lengths = info.shard_lengths if len(info.shard_lengths) == len(paths) else [None] * len(paths)
    for path, records in zip(paths, lengths, strict=True):
        found = _matched(path)
        if not found:
            raise InputError(f"--input {pattern}: expected all files of the dataset. Received one without {path}.")
        files += [InputFile(path, file.size_in_bytes, file.last_updated_in_seconds, folder, records) for file in found]
    return files
