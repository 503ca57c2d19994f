"""Shards with the same bytes on every run, and their metadata: TFDS' files, dataset.json, COMPLETED."""

import gzip
import hashlib
import pathlib
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from bert_tf.core import record_files, records
from pipelines.running import files

COMPRESSIONS = ("none", "gzip")
_GZIP_LEVEL = 6


def write_shard(output_dir: str, name: str, batches: Iterable[list[bytes]], compression: str = "none") -> dict:
    """Writes batches of serialized records to a shard and returns the shard's entry in dataset.json."""
    examples = 0
    with files.replacing(files.join(output_dir, name)) as raw:
        file = _Hashed(raw)
        # mtime: the time of writing would change the bytes on every run. GzipFile calls only `write` of its file.
        zipped = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) if compression == "gzip" else None  # type: ignore
        for batch in batches:
            (zipped or file).write(b"".join(map(record_files.frame_record, batch)))
            examples += len(batch)
        if zipped:
            zipped.close()
    return {"name": name, "examples": examples, "bytes": file.size, "sha256": file.hash.hexdigest()}


class _Hashed:
    """Writes to a file, and counts and hashes the bytes."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.size, self.hash = 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)


def write_tfds_metadata(output_dir: str, layout: records.RecordLayout, shards: list[dict]) -> None:
    """Writes the files with which `tfds.builder_from_directory(output_dir)` opens the folder."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            name: tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype))
            for name, (shape, dtype) in layout.features.items()
        }
    )
    # TensorFlow, which TFDS writes with, knows few stores: it writes here, and files.py takes what it wrote there.
    with tempfile.TemporaryDirectory() as folder:
        _write_tfds_metadata(pathlib.Path(folder), features, shards)
        for path in sorted(pathlib.Path(folder).glob("*.json")):
            files.write_bytes(files.join(output_dir, path.name), path.read_bytes())


def _write_tfds_metadata(folder: pathlib.Path, features, shards: list[dict]) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(dataset_name="pretrain", data_dir=folder, filetype_suffix="tfrecord")
    splits = []
    for split in ("train", "validation"):
        of_split = [shard for shard in shards if shard["name"].startswith(f"pretrain-{split}.")]
        for shard in of_split:
            (folder / shard["name"]).touch()  # TFDS learns the names of the splits from files
        if of_split:
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard["examples"] for shard in of_split],
                    num_bytes=sum(shard["bytes"] for shard in of_split),
                    filename_template=template.replace(split=split),
                )
            )
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=features, split_infos=splits, version="1.0.0", check_data=False
    )


def write_manifest(output_dir: str, manifest: dict) -> None:
    """Writes dataset.json and then COMPLETED: call it last, so that all other files exist where COMPLETED does."""
    files.write_json(files.join(output_dir, records.MANIFEST), manifest)
    files.write_bytes(files.join(output_dir, records.COMPLETED), b"")
