import bz2
import gzip
import json
import lzma
import pathlib

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bert_tf.core.errors import InputError, StorageError
from pipelines.reading import inputs, readers
from pipelines.reading.inputs import BadRecord, Part, match_files
from pipelines.reading.lines import Lines
from pipelines.reading.readers import Format
from pipelines.reading.reading import ReadDocuments
from pipelines.running.options import local_options
from pipelines.running.pipeline import running


def read_documents(path, file_format=readers.DEFAULT_FORMAT, **kwargs):
    return list(readers.read_documents(Part(str(path)), file_format, **kwargs))


@pytest.mark.parametrize(
    ("name", "data", "position", "reason"),
    [
        ("a.txt", b"fine\n\n\nx\ny\xff\xfe\n", 5, "bytes that are no UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"txt": 1}\n', 2, 'no JSON object with a string "text"'),
        ("b.jsonl", b'\n{"text": "fine"}\n[1]\n', 3, 'no JSON object with a string "text"'),
        ("c.json", b'{\n{"text": "fine"}', 1, 'no JSON object with a string "text"'),
        ("d.jsonl", b'{"text": "fine"}\n{"text": "\xff"}', 2, "bytes that are no UTF-8"),
        ("e.txt", b"fine\n\n" + b"x" * 2000 + b"\ny\n", 3, "a document of more than 1,000 bytes"),
        ("f.txt", b"fine\n\n" + b"x\n" * 2000, 3, "a document of more than 1,000 bytes"),
        (
            "h.jsonl",
            b'{"text": "fine"}\n{"text": "x", "n": 1' + b"1" * 900 * 5 + b"}",
            2,
            "no JSON object with a string",
        ),
        ("g.jsonl", b'{"text": "' + b"x" * 2000 + b'"}\n{"text": "fine"}', 1, "a line that is too long"),
    ],
)
def test_bad_records_are_named_and_the_others_read(tmp_path, name, data, position, reason):
    (tmp_path / name).write_bytes(data)
    found = read_documents(tmp_path / name, max_bytes=5000 if name == "h.jsonl" else 1000)
    assert [x for x in found if isinstance(x, str)] == ["fine"]
    (bad,) = [x for x in found if isinstance(x, BadRecord)]
    assert (bad.path, bad.unit, bad.position) == (str(tmp_path / name), "line", position)
    assert bad.reason.startswith(reason)


def test_many_bad_records_are_all_counted_and_the_first_listed(tmp_path):
    lines = ["{}" if n % 50 else json.dumps({"text": f"One here {n}. Two."}) for n in range(30_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    letter = str(tmp_path / "letter.jsonl")
    sentence = "Received 29400 beside 600 documents, .*a.jsonl, line 2: .* 10000 of them are listed"
    with pytest.raises(InputError, match=sentence), running(local_options([])) as root:
        parts = [Part(str(tmp_path / "a.jsonl"))]
        _ = root | ReadDocuments(parts, Format(), max_bad_fraction=0.5, dead_letter=letter)
    positions = [json.loads(line)["position"] for line in pathlib.Path(letter).read_text().splitlines()]
    assert positions == [n + 1 for n in range(30_000) if n % 50][:10_000]
    with pytest.raises(InputError, match=r"--max_bad_fraction must lie in \[0, 1\]. Received: 7"):
        ReadDocuments([], Format(), max_bad_fraction=7)


def test_parquet_rows_are_documents(tmp_path):
    table = pyarrow.table({"text": ["one", None, "two"], "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = read_documents(tmp_path / "a.parquet")
    assert found == ["one", BadRecord(str(tmp_path / "a.parquet"), "row", 2, "a text that is None"), "two"]
    pyarrow.parquet.write_table(table.select(["id"]), tmp_path / "b.parquet")
    assert read_documents(tmp_path / "b.parquet")[0].reason == 'no column "text" but id'


def test_parquet_text_that_is_none_is_bad(tmp_path):
    texts = pyarrow.array([b"one", b"\xff", b"x" * 2000, b"two"], pyarrow.binary())
    broken = pyarrow.StringArray.from_buffers(4, texts.buffers()[1], texts.buffers()[2])
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "a.parquet")
    one, none, long, two = read_documents(tmp_path / "a.parquet", max_bytes=1000)
    assert (one, two) == ("one", "two")
    assert none[1:] == ("row", 2, "bytes that are no UTF-8")
    assert long[1:] == ("row", 3, "a document of more than 1,000 bytes")
    pyarrow.parquet.write_table(pyarrow.table({"text": [1, 2]}), tmp_path / "b.parquet")
    assert [bad.reason for bad in read_documents(tmp_path / "b.parquet")] == ["a text that is 1", "a text that is 2"]


def test_blank_lines_separate_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\n\none\ntwo\n\n \n\nthree")
    assert read_documents(tmp_path / "a.txt") == ["one\ntwo", "three"]


def test_document_is_the_same_wherever_it_stands(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\n\ntwo")
    (tmp_path / "b.txt").write_bytes(b"two\r\n\r\none\r\n")
    assert sorted(read_documents(tmp_path / "a.txt")) == sorted(read_documents(tmp_path / "b.txt"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compression_is_recognized_and_a_cut_file_is_bad(tmp_path, compress):
    data = compress(b"one\n\ntwo\n" * 100_000)
    (tmp_path / "a.txt").write_bytes(data)
    whole = read_documents(tmp_path / "a.txt")
    assert whole == ["one", *["two\none"] * 99_999, "two"]
    (tmp_path / "a.txt").write_bytes(data[:-10])
    *before, bad = read_documents(tmp_path / "a.txt")
    assert before == whole[: len(before)]
    assert bad.reason.startswith("the file cannot be read on")


def test_half_a_surrogate_pair_in_json_is_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n')
    assert read_documents(tmp_path / "a.jsonl") == ["a\ufffdb", "\U0001f600"]


def test_files_are_matched_once_and_sorted(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    found = match_files([str(tmp_path / "*.txt"), str(tmp_path / "a.*")])
    assert [pathlib.Path(f.path).name for f in found] == ["a.txt", "b.txt"]


def in_parts(path, cuts: list[int], file_format=readers.DEFAULT_FORMAT, **kwargs) -> list:
    """The documents of a file that is read in parts, cut at the given bytes."""
    starts = sorted({0, *cuts})
    parts = [Part(str(path), start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return [found for part in parts for found in readers.read_documents(part, file_format, **kwargs)]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.txt", ["one", "", "two\r", " ", "\t\r", "", "three", "four", "\u00e9", " five"]),
        ("a.jsonl", ['{"text": "one"}', "", '{"text": "two\\n\\nthree"}', '{"no": 1}', '{"text": "four"}\r']),
        ("a.wiki", ['<doc id="1" title="T">', "T", "", "one", "</doc>", "", '<doc id="2">', "two", "", "</doc>"]),
    ],
)
@given(data=st.data())
def test_a_file_read_in_parts_gives_every_document_once(tmp_path_factory, name, lines, data):
    path = tmp_path_factory.mktemp("parts") / name
    drawn = data.draw(st.lists(st.sampled_from(lines), max_size=30))
    path.write_bytes("\n".join([*lines, *drawn]).encode())
    size = path.stat().st_size
    cuts = data.draw(st.lists(st.integers(1, size), max_size=6))

    def contents(found):
        return [record if isinstance(record, str) else record.reason for record in found]

    assert contents(in_parts(path, cuts)) == contents(read_documents(path))


@given(st.lists(st.sampled_from(["a", "b c", "", "", " ", "\r", "\ufeff", "\x0c", " d", "\udc80"]), max_size=40))
def test_plain_text_is_the_same_however_it_is_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("plain") / "a.txt"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    fast = read_documents(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lines, "plain_documents", lambda self: [])
        assert read_documents(path) == fast


def test_plain_text_is_read_by_the_megabyte(tmp_path):
    documents = [f"Document {n}.\nIts second line." for n in range(50_000)]
    (tmp_path / "a.txt").write_text("\n\n".join(documents) + "\n\n\xff")
    line_by_line = 0
    with pytest.MonkeyPatch.context() as patch:
        slow = readers._text

        def counted(*arguments):
            nonlocal line_by_line
            line_by_line += 1
            return slow(*arguments)

        patch.setattr(readers, "_text", counted)
        assert read_documents(tmp_path / "a.txt") == [*documents, "\xff"]
    assert line_by_line < 10


def test_bad_record_behind_the_first_part_is_named_by_its_byte(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' * 10 + "[]\n")
    assert in_parts(tmp_path / "a.jsonl", [30])[-1][1:3] == ("byte", 160)
    assert read_documents(tmp_path / "a.jsonl")[-1][1:3] == ("line", 11)


def test_one_endless_line_ends_with_the_part(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\n" + b"x" * 5_000_000 + b"\n\ntwo\n")
    found = in_parts(tmp_path / "a.txt", list(range(1_000_000, 5_000_000, 1_000_000)), max_bytes=1000)
    assert [record for record in found if isinstance(record, str)] == ["one", "two"]
    assert [record[1:3] for record in found if not isinstance(record, str)] == [("line", 3)]


def test_compressed_file_is_read_with_its_first_part(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n\ntwo\n\n" * 50))
    assert in_parts(tmp_path / "a.gz", [10, 20]) == ["one", "two"] * 50


def test_large_file_has_many_parts_and_a_growing_one_no_end(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PART_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"x" * 25)
    (tmp_path / "b.txt").write_bytes(b"")
    files = match_files([str(tmp_path / "*.txt")])
    found = [part[1:3] for file in files for part in file.parts()]
    assert found == [(0, 10), (10, 20), (20, None), (0, None)]


def test_parquet_row_groups_are_shared_among_parts(tmp_path):
    table = pyarrow.table({"text": [f"document {n}" for n in range(1000)]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    size = (tmp_path / "a.parquet").stat().st_size
    halves = [
        list(readers.read_documents(Part(str(tmp_path / "a.parquet"), start, end)))
        for start, end in ((0, size // 2), (size // 2, None))
    ]
    assert all(halves)
    assert halves[0] + halves[1] == table.column("text").to_pylist()


def test_wikiextractor_output_loses_title_and_markup(tmp_path):
    (tmp_path / "wiki_00").write_text(
        '<doc id="11" url="https://x" title="A">\nA\n\n</doc>\n'
        '<doc id="12" url="https://x" title="A &amp; B">\nA & B\n\nFirst &lt;one&gt;.\nSecond.\n\n</doc>\n'
        '<doc id="13" url="https://x" title="Other">\nNo title line.\n</doc>\n<doc id="14" title="cut">\nThird'
    )
    *documents, bad = read_documents(tmp_path / "wiki_00")
    assert documents == ["First <one>.\nSecond.", "No title line."]
    assert bad[1:] == ("line", 15, "a <doc> without </doc>")
    (tmp_path / "wiki_01").write_text('{"id": "12", "text": "WikiExtractor --json"}\n')
    assert read_documents(tmp_path / "wiki_01") == ["WikiExtractor --json"]


def test_a_file_can_be_a_document_and_a_field_have_another_name(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.txt").write_text("\n \n")
    (tmp_path / "c.jsonl").write_text('{"body": "three"}\n')
    whole = Format(document_per_file=True, text_field="body")
    assert read_documents(tmp_path / "a.txt", whole) == ["one\n\ntwo"]
    assert in_parts(tmp_path / "a.txt", [3, 6], whole) == ["one\n\ntwo"]
    assert read_documents(tmp_path / "b.txt", whole) == []
    assert read_documents(tmp_path / "c.jsonl", whole) == ["three"]
    assert read_documents(tmp_path / "a.txt", whole, max_bytes=4)[0].reason == "a document of more than 4 bytes"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A TFDS dataset of six texts, one of which is no UTF-8, in two record files."""
    folder = tmp_path_factory.mktemp("tfds") / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "id": tfds.features.Scalar(np.int64)})
    texts = [[b"one", b"two", b"\xff"], ["drei\n\nüber".encode(), b"five", b"six"]]
    for number, some in enumerate(texts):
        with tf.io.TFRecordWriter(str(folder / f"mine-train.tfrecord-{number:05d}-of-00002")) as writer:
            for text in some:
                writer.write(features.serialize_example({"text": text, "id": 7}))
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[3, 3],
        num_bytes=0,
        filename_template=tfds.core.ShardedFileTemplate(
            dataset_name="mine", data_dir=folder, split="train", filetype_suffix="tfrecord"
        ),
    )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=[split], check_data=False)
    return folder


def test_tfds_dataset_is_read_by_its_folder(dataset):
    files = match_files([f"tfds:{dataset}"])
    assert match_files([f"tfds:{dataset}:train"]) == files
    found = [record for file in files for part in file.parts() for record in readers.read_documents(part)]
    assert [record for record in found if isinstance(record, str)] == ["one", "two", "drei\n\nüber", "five", "six"]
    (bad,) = [record for record in found if not isinstance(record, str)]
    assert bad[1:3] == ("record", 3)
    part = next(iter(files[0].parts()))
    (wrong,) = readers.read_documents(part, Format(text_field="title"))
    assert wrong.reason == 'no feature "title" but id, text'


def test_tfds_dataset_that_is_cut_or_unknown_is_named(dataset, tmp_path):
    name = "mine-train.tfrecord-00001-of-00002"
    cut = tmp_path / name
    cut.write_bytes((dataset / name).read_bytes()[:-5])
    *documents, bad = readers.read_documents(Part(str(cut), dataset=str(dataset)))
    assert documents == ["drei\n\nüber", "five"]
    assert bad[1:3] == ("record", 3)
    with tf.io.TFRecordWriter(str(cut)) as writer:
        writer.write(b"no example")
    (bad,) = readers.read_documents(Part(str(cut), dataset=str(dataset)))
    assert bad.reason.startswith("no example of this dataset")
    with pytest.raises(InputError, match='expected a split "test". Received a dataset with train'):
        match_files([f"tfds:{dataset}:test"])
    with pytest.raises(InputError, match="tfds:no_such_dataset: expected a dataset that TFDS knows, or the folder of"):
        match_files(["tfds:no_such_dataset"])
    with pytest.raises(InputError, match=r"--input tfds:x#test: expected .* write tfds:x:test"):
        match_files(["tfds:x#test"])


def test_a_file_that_is_gone_is_no_bad_record(tmp_path):
    """Nothing that it holds is wrong: the job ends and goes on when the file is there again."""
    with pytest.raises(StorageError, match="gone.txt: expected a file that can be read. Received: No such file"):
        list(readers.read_documents(Part(str(tmp_path / "gone.txt"))))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: expected a file that can be read. Received: Is a directory"):
        list(readers.read_documents(Part(str(tmp_path / "folder"))))


def test_parquet_text_of_other_kinds(tmp_path):
    column = pyarrow.array(["one", "two", "one"]).dictionary_encode()  # as pandas writes categories
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert read_documents(tmp_path / "a.parquet") == ["one", "two", "one"]


@pytest.mark.parametrize("name", ["a.txt", "a.wiki"])
def test_the_size_of_a_document_counts_its_line_breaks(tmp_path, name):
    body = b"\n".join([b"a"] * 50)  # 99 bytes
    around = (b'<doc id="1" title="x">\n', b"\n</doc>\n") if name == "a.wiki" else (b"", b"\n\nb\n")
    (tmp_path / name).write_bytes(body.join(around))
    assert read_documents(tmp_path / name, max_bytes=99)[0] == body.decode()
    (bad, *_) = read_documents(tmp_path / name, max_bytes=98)
    assert bad.reason.startswith("a document of more than 98 bytes")


@pytest.mark.parametrize("runner", ["FnApiRunner", "DirectRunner", "DataflowRunner"])
def test_a_misspelt_flag_is_refused_on_any_runner_without_a_job_server(runner):
    with pytest.raises(InputError, match="Expected flags of this command or of Beam. Received: --num_shard=3"):
        local_options([f"--runner={runner}", "--num_shard=3"])
    local_options(["--runner=FlinkRunner", "--flink_version=1.19"])
