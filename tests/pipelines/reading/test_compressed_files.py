import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from backports import zstd

from tests.pipelines.reading.whole_file import read

TEXT = b"one\n\ntwo\n\n" * 5000
DOCUMENTS = ["one", "two"] * 5000
COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"size"


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", COMPRESS)
def test_compression_is_recognized_and_read_with_the_first_part(tmp_path, name):
    path = write(tmp_path / "a.txt", COMPRESS[name](TEXT))
    assert read(path) == (DOCUMENTS, [], [])
    assert read(path, cuts=[10, 20]) == (DOCUMENTS, [], [])


@pytest.mark.parametrize("name", COMPRESS)
def test_members_behind_one_another_are_one_text(tmp_path, name):
    pieces = [b"", TEXT[:7], b"", TEXT[7:20_000], TEXT[20_000:], b""]
    data = b"".join(map(COMPRESS[name], pieces))
    assert read(write(tmp_path / "a", data)) == (DOCUMENTS, [], [])
    bad = COMPRESS[name](TEXT + b"\xff\n\n") * 2
    found = read(write(tmp_path / "a", bad))
    assert (found.documents, found.losses) == (DOCUMENTS * 2, [])
    assert [record[1:4] for record in found.bad] == [("line", n, "bytes that are no UTF-8") for n in (20_001, 40_003)]


@pytest.mark.parametrize("name", COMPRESS)
def test_a_file_that_is_cut_is_lost_by_its_bytes(tmp_path, name):
    noise = random.Random(0).randbytes(200_000).hex().encode()  # so that most of the text comes before the cut
    text = b"\n\n".join(noise[start : start + 100] for start in range(0, len(noise), 100))
    data = COMPRESS[name](text)
    cut = data[:-10]
    found = read(write(tmp_path / "a", cut))
    assert found.documents == text.decode().split("\n\n")[: len(found.documents)]
    (loss,) = found.losses
    assert loss.reason == f"reading failed: the file ends within its {name} data"
    assert loss.weight == len(cut) >= loss.bytes
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 255
    (loss,) = read(write(tmp_path / "a", bytes(damaged))).losses
    assert loss.weight == len(data)


@pytest.mark.parametrize("name", COMPRESS)
def test_what_follows_compressed_data_is_a_loss_of_its_own(tmp_path, name):
    data = COMPRESS[name](TEXT + b"last")
    other = COMPRESS["xz" if name == "gzip" else "gzip"](TEXT)
    for trailing in (b"garbage", b"\n", other, b"\0" * 8 + b"garbage"):
        found = read(write(tmp_path / "a", data + trailing))
        assert (found.documents, found.bad) == ([*DOCUMENTS, "last"], [])
        (loss,) = found.losses
        assert (loss.reason, loss.position) == (f"bytes behind the end of its {name} data that are none", len(data))
        assert loss.bytes == loss.weight == len(trailing)


def test_zero_bytes_are_padding_where_the_format_says_so(tmp_path):
    for name, zeros in (("gzip", 1), ("gzip", 5000), ("xz", 4), ("xz", 5000)):
        data = COMPRESS[name](TEXT) + bytes(zeros)
        assert read(write(tmp_path / "a", data)) == (DOCUMENTS, [], [])
        assert read(write(tmp_path / "a", data * 2)) == (DOCUMENTS * 2, [], [])
    for name, zeros in (("bzip2", 4), ("zstd", 4), ("xz", 3)):
        (loss,) = read(write(tmp_path / "a", COMPRESS[name](TEXT) + bytes(zeros))).losses
        assert loss.bytes == zeros


def test_zstd_with_skippable_frames(tmp_path):
    frame = zstandard.compress(TEXT)
    last = b"\x5f\x2a\x4d\x18" + struct.pack("<I", 100_000) + bytes(100_000)
    for data in (SKIPPABLE + frame, frame + SKIPPABLE, SKIPPABLE * 3 + frame + last, last + frame):
        assert read(write(tmp_path / "a", data)) == (DOCUMENTS, [], [])
    assert read(write(tmp_path / "a", SKIPPABLE)) == ([], [], [])
    (loss,) = read(write(tmp_path / "a", SKIPPABLE + frame + SKIPPABLE[:-2])).losses
    assert loss.reason.endswith("the file ends within its zstd data")


@pytest.mark.parametrize("window_log", [27, 28, 30])
def test_zstd_with_large_windows(tmp_path, window_log):
    parameter = zstd.CompressionParameter
    options = {parameter.window_log: window_log, parameter.enable_long_distance_matching: 1, parameter.checksum_flag: 1}
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(TEXT) + compressor.flush()  # of unknown size, so the window is as large as it says
    assert zstandard.get_frame_parameters(data).window_size == 1 << window_log
    assert read(write(tmp_path / "a", data)) == (DOCUMENTS, [], [])


def test_zstd_with_a_dictionary_is_lost_and_not_wrong(tmp_path):
    words = [f"one {n} two {n * 7}".encode() * 3 for n in range(2000)]
    dictionary = zstd.train_dict(words, 2000)
    found = read(write(tmp_path / "a", zstd.compress(b"one 7 two 49", zstd_dict=dictionary)))
    assert (found.documents, found.losses[0].reason[:15]) == ([], "reading failed:")


def test_gzip_with_all_fields_of_its_header(tmp_path):
    deflated = gzip.compress(TEXT)[10:]
    header = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x06\x00BC\x02\x00\x1b\x00" + b"name.txt\0" + b"comment\0"
    assert read(write(tmp_path / "a", header + deflated)) == (DOCUMENTS, [], [])


def test_a_little_that_becomes_much_is_read_piece_by_piece(tmp_path):
    for name, compress in COMPRESS.items():
        data = compress(b"x" * 20_000_000 + b"\n\nend")
        found = read(write(tmp_path / "a", data))
        assert (found.documents, len(found.losses)) == (["end"], 1), name


def _tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", data)
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one"]}), file)
    return file.getvalue()


def _arrow() -> bytes:
    file = io.BytesIO()
    table = pyarrow.table({"text": ["one"]})
    with pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(gzip.compress(TEXT)), "gzip with gzip data; decompress it once"),
        (zstandard.compress(bz2.compress(TEXT)), "zstd with bzip2 data; decompress it once"),
        (_tar(TEXT), "a tar archive; unpack it"),
        (lzma.compress(_tar(TEXT)), "xz with a tar archive; unpack it"),
        (_zip(TEXT), "a zip archive; unpack it"),
        (gzip.compress(_parquet()), "gzip with a Parquet file; decompress it"),
        (_arrow(), "an Arrow or Feather file; convert it to Parquet"),
        (lzma.compress(TEXT, format=lzma.FORMAT_ALONE), "an .lzma file; decompress it, or use xz"),
        (pyarrow.compress(TEXT, "lz4", asbytes=True), None),
        (b"\x04\x22\x4d\x18" + TEXT, "an LZ4 file; decompress it"),
        (b"%PDF-1.7\n" + TEXT, "a PDF; convert it to text"),
        (b'<mediawiki xml:lang="en">\n' + TEXT, "a dump of MediaWiki; extract its text with WikiExtractor"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # gzip's bytes hold the time
)
def test_other_formats_are_named(tmp_path, data, reason):
    found = read(write(tmp_path / "a.txt", data), cuts=[20])
    if reason is None:  # without a mark of its own
        assert found.bad or found.losses
        return
    assert (found.documents, found.bad) == ([], [])
    assert [(loss.reason, loss.bytes, loss.weight) for loss in found.losses] == [(reason, len(data), len(data))]
