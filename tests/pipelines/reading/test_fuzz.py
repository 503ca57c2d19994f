"""Damaged files: every byte is read or reported, and nothing but the damage changes what is read."""

import bz2
import collections
import functools
import gzip
import json
import lzma
import pathlib
import random

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import zstandard

from pipelines.reading import compression, streams
from tests.pipelines.reading.whole_file import Found, read

TEXTS = [f"Text {n} über 中文 {n * 7919 % 1000}.\nZweite Zeile {'x' * (n % 40)}." for n in range(60)]
PLAIN = "\n\n".join(TEXTS).encode()
JSON_LINES = "\n".join(
    json.dumps({"id": n, "text": text}, ensure_ascii=n % 2 == 0) for n, text in enumerate(TEXTS)
).encode()
ARRAY = json.dumps([{"id": n, "text": text} for n, text in enumerate(TEXTS)], indent=1).encode()
WIKI = "".join(f'<doc id="{n}" title="T">\nT\n\n{text}\n</doc>\n' for n, text in enumerate(TEXTS)).encode()
COMPRESS = {
    "gzip": functools.partial(gzip.compress, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
DECOMPRESS = {
    "gzip": gzip.decompress,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(),
}
ENCODINGS = ("utf-16", "utf-32", "latin-1", "gb18030", "cp1251", "utf-16-be", "shift_jis", "utf-7")


def parquet(**options) -> bytes:
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"id": range(len(TEXTS)), "text": TEXTS})
    pyarrow.parquet.write_table(table, sink, row_group_size=20, write_page_checksum=True, **options)
    return sink.getvalue().to_pybytes()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> pathlib.Path:
    """A TFDS dataset of the texts in one record file."""
    folder = tmp_path_factory.mktemp("tfds") / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "id": tfds.features.Scalar(np.int64)})
    name = tfds.core.ShardedFileTemplate(
        dataset_name="mine", data_dir=folder, split="train", filetype_suffix="tfrecord"
    )
    with tf.io.TFRecordWriter(str(folder / "mine-train.tfrecord-00000-of-00001")) as writer:
        for number, text in enumerate(TEXTS):
            writer.write(features.serialize_example({"text": text, "id": number}))
    split = tfds.core.SplitInfo(name="train", shard_lengths=[len(TEXTS)], num_bytes=0, filename_template=name)
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=[split], check_data=False)
    return folder


def packed(data: bytes, kind: str) -> bytes:
    """Compressed in four members."""
    size = len(data) // 4 + 1
    return b"".join(COMPRESS[kind](data[start : start + size]) for start in range(0, len(data), size))


@functools.lru_cache
def kinds(dataset: pathlib.Path) -> dict[str, bytes]:
    """A good file of each kind, by its name."""
    text = {"a.txt": PLAIN, "a.jsonl": JSON_LINES, "a.json": ARRAY, "a.wiki": WIKI}
    made = {f"{name}.{kind}": packed(data, kind) for name, data in text.items() for kind in COMPRESS}
    tables = {f"{kind}.parquet": parquet(compression=kind) for kind in ("none", "snappy", "zstd")}
    records = (dataset / "mine-train.tfrecord-00000-of-00001").read_bytes()
    return text | made | tables | {"a.tfrecord": records}


def flip(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    start = draw.randrange(len(data))
    piece = draw.choice((b"\0" * 40, draw.randbytes(10), b'"', b"\n\n", b"\r", b"{[", b"\xef\xbb\xbf", b"<doc "))
    return data[:start] + piece + data[start + draw.choice((0, len(piece))) :]


def cut(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    start, end = sorted(draw.choices(range(len(data) + 1), k=2))
    return draw.choice((data[:end], data[start:], data[:start] + data[end:], data[:-1]))


def concatenate(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    other = draw.choice(
        (data, draw.choice(others), bytes(draw.randrange(1, 20)), b"\n", b"\xff\xfe", draw.randbytes(8))
    )
    return draw.choice((data + other, other + data))


def encode(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.encode(draw.choice(ENCODINGS), "replace")


def compress(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    return COMPRESS[draw.choice(list(COMPRESS))](data)


def line_ends(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    return data.replace(b"\n", draw.choice((b"\r", b"\r\n", b"\n\n", "\u2028".encode(), b"\n \n")))


MUTATIONS = (flip, flip, overwrite, cut, cut, concatenate, encode, compress, line_ends)


def fuzzed(path: pathlib.Path, dataset: pathlib.Path, number: int) -> tuple[str, str, Found]:
    """Reads the input with this number: (its kind, what was done to it, what was read of it)."""
    draw = random.Random(number)
    files = kinds(dataset)
    name = list(files)[number % len(files)]
    stem, _, kind = name.rpartition(".")
    is_inside = kind in COMPRESS and draw.random() < 0.6  # what is compressed is damaged, not the compressed file
    data, done = files[stem if is_inside else name], []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        mutation = draw.choice(MUTATIONS)
        data = mutation(data, draw, list(files.values())) or b"\n"
        done.append(mutation.__name__)
    data = packed(data, kind) if is_inside else data
    path = path / name
    path.write_bytes(data)
    if name == "a.tfrecord":
        return name, " ".join(done), read(path, dataset=str(dataset))
    options = {
        "document_per": draw.choice(("block", "block", "block", "block", "line", "file")),
        "encoding": draw.choice((*["utf-8"] * 12, "latin-1", "utf-16", "gb18030")),
        "max_document_bytes": draw.choice((10_000_000, 10_000_000, 10_000_000, 1000)),
    }
    cuts = [draw.randrange(1, len(data) + 1) for _ in range(draw.choice((0, 0, 1, 4)))]
    whole = read(path, **options)
    found = read(path, cuts, **options)
    assert found.documents == whole.documents
    for one, other in zip(found[1:], whole[1:], strict=True):
        assert [(x.reason, x.bytes) for x in one] == [(x.reason, x.bytes) for x in other]
    check_content(name, data, whole, options)
    return name, " ".join(done), whole


def check_content(name: str, data: bytes, found: Found, options: dict) -> None:
    """Where nothing is reported, compares with what the file holds by other software and a plain rule."""
    if found.bad or found.losses:
        return
    if kind := compression.compression_of(data):
        data = DECOMPRESS[kind.name](data)
    if streams.encoding_of(data, options["encoding"]) != "utf-8" or b"\r" in data:
        return
    text = data.decode().removeprefix("\ufeff")
    is_plain = not text.lstrip().startswith(("{", "[", "<doc "))
    if name.startswith("a.txt") and is_plain and options["document_per"] == "block":
        blocks = "\n".join(line if line.strip(" \t\x0b\x0c") else "" for line in text.split("\n")).split("\n\n")
        assert found.documents == [block.strip("\n") for block in blocks if block.strip("\n")]
    if name.startswith("a.jsonl") and text.startswith('{"id": 0, "text"'):
        assert len(found.documents) == sum(bool(line.strip()) for line in text.split("\n"))


@pytest.mark.parametrize("number", range(100))
def test_a_damaged_file_is_read_or_reported_to_its_last_byte(tmp_path, dataset, number):
    fuzzed(tmp_path, dataset, number)


@pytest.mark.fuzz
def test_two_thousand_damaged_files_are_read_or_reported_to_their_last_byte(tmp_path, dataset):
    outcomes = collections.Counter()
    for number in range(100, 2100):
        try:
            name, done, found = fuzzed(tmp_path, dataset, number)
        except Exception as error:
            raise AssertionError(f"input {number}") from error
        outcome = "reported" if found.bad or found.losses else "read"
        outcomes[outcome] += 1
        outcomes[f"{outcome}, with documents" if found.documents else f"{outcome}, no document"] += 1
    print(dict(outcomes))
