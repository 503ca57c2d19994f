import pathlib

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bert_tf.core.errors import InputError, StorageError
from pipelines.reading import inputs, readers
from pipelines.reading.inputs import Part, match_files
from pipelines.reading.outcomes import BadRecord
from tests.pipelines.reading.whole_file import read


def write(path, table, **options):
    pyarrow.parquet.write_table(table if isinstance(table, pyarrow.Table) else pyarrow.table(table), path, **options)
    return path


def test_parquet_rows_are_documents(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": ["one", None, "two"], "id": [1, 2, 3]})
    found = read(path)
    size = path.stat().st_size
    assert found.documents == ["one", "two"]
    assert found.bad == [BadRecord(str(path), "row", 2, "a text that is None", size * 2 // 3 - size // 3)]
    assert read(write(path, {"text": pyarrow.array([], pyarrow.string())})) == ([], [], [])


@pytest.mark.parametrize(
    "columns", [{"content": ["one"] * 3000, "id": list(range(3000))}, {"a": [{"text": "x"}] * 3000}]
)
def test_parquet_without_the_column_is_lost_as_a_whole(tmp_path, columns):
    path = write(tmp_path / "a.parquet", columns, row_group_size=1000)
    size = path.stat().st_size
    found = read(path, cuts=[size // 3])
    assert (found.documents, found.bad) == ([], [])
    (loss,) = found.losses
    assert loss.reason == f'no column "text" but {", ".join(columns)} (--text_field)'
    assert loss.bytes == loss.weight == size


def test_parquet_with_two_columns_of_the_name_is_lost(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    (loss,) = read(write(tmp_path / "a.parquet", table)).losses
    assert loss.reason == '2 columns "text"'


def test_parquet_text_that_is_none_is_bad(tmp_path):
    texts = pyarrow.array([b"one", b"\xff", b"x" * 2000, b"two"], pyarrow.binary())
    broken = pyarrow.StringArray.from_buffers(4, texts.buffers()[1], texts.buffers()[2])
    for column in (broken, broken.dictionary_encode(), texts, texts.cast(pyarrow.large_binary())):
        found = read(write(tmp_path / "a.parquet", {"text": column}), max_document_bytes=1000)
        assert found.documents == ["one", "two"]
        assert [bad[1:4] for bad in found.bad] == [("row", 2, "bytes that are no UTF-8")]
        reason = "a document of more than 1,000 bytes (--max_document_bytes)"
        assert [loss[1:4] for loss in found.losses] == [("row", 3, reason)]
    found = read(write(tmp_path / "b.parquet", {"text": [1, 2]}))
    assert [bad.reason for bad in found.bad] == ["a text that is 1", "a text that is 2"]


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array(["one", "zwöi", "one"]),
        pyarrow.array(["one", "zwöi", "one"], pyarrow.large_string()),
        pyarrow.array(["one", "zwöi", "one"], pyarrow.string_view()),
        pyarrow.array(["one", "zwöi", "one"]).dictionary_encode(),  # as pandas writes categories
        pyarrow.array(["one", "zwöi", "one"], pyarrow.large_string()).dictionary_encode(),
        pyarrow.array([["one"], ["zwöi"], ["one"]]),
        pyarrow.array([["one"], ["zwöi"], ["one"]], pyarrow.large_list(pyarrow.large_string())),
        pyarrow.array(["one", "zwöi", "one"], pyarrow.string()).cast(pyarrow.binary()),
    ],
)
def test_parquet_text_of_all_types(tmp_path, column):
    path = write(tmp_path / "a.parquet", {"nested": [{"text": "x"}] * 3, "text": column})
    assert read(path) == (["one", "zwöi", "one"], [], [])


def test_parquet_lists_are_paragraphs_and_other_values_bad(tmp_path):
    column = pyarrow.array([["one", "two"], None, ["three", None], []], pyarrow.list_(pyarrow.string()))
    found = read(write(tmp_path / "a.parquet", {"text": column}))
    assert found.documents == ["one\ntwo", ""]
    assert [bad[2:4] for bad in found.bad] == [(2, "a text that is None"), (3, "a text that is None")]
    found = read(write(tmp_path / "a.parquet", {"text": [{"a": "one"}]}))
    assert [bad.reason for bad in found.bad] == ["a text that is {'a': 'one'}"]


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_parquet_row_groups_are_shared_among_parts(tmp_path, compression):
    texts = [f"document {n}" for n in range(1000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=100, compression=compression)
    size = path.stat().st_size
    halves = [
        list(readers.read_documents(Part(str(path), start, end))) for start, end in ((0, size // 2), (size // 2, None))
    ]
    assert all(halves)
    assert halves[0] + halves[1] == texts
    assert read(path, cuts=range(1, size, 997)) == (texts, [], [])


def test_damaged_parquet_is_lost_by_its_rows(tmp_path):
    texts = [f"document {n} " + "x" * (n % 90) for n in range(1000)]
    path = write(
        tmp_path / "a.parquet", {"text": texts}, row_group_size=100, write_page_checksum=True, use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    size = len(data)
    place = pyarrow.parquet.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    data[place + 500] ^= 1
    path.write_bytes(data)
    found = read(path, cuts=[size // 3])
    assert (found.documents, found.bad) == (texts[:300] + texts[400:], [])
    (loss,) = found.losses
    assert loss[1:3] == ("row", 301)
    assert loss.bytes == size * 4 // 10 - size * 3 // 10
    path.write_bytes(data[:-10])
    (loss,) = read(path, cuts=[size // 3]).losses
    assert loss.reason.startswith("no whole Parquet file: ")
    assert loss.bytes == loss.weight == size - 10


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A TFDS dataset of six texts, one of which is no UTF-8, in two record files."""
    folder = tmp_path_factory.mktemp("tfds") / "mine" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "text": tfds.features.Text(),
            "id": tfds.features.Scalar(np.int64),
            "parts": tfds.features.Sequence(tfds.features.Text()),
        }
    )
    texts = [[b"one", b"two", b"\xff"], ["drei\n\nüber".encode(), b"five", b"six"]]
    for number, some in enumerate(texts):
        with tf.io.TFRecordWriter(str(folder / f"mine-train.tfrecord-{number:05d}-of-00002")) as writer:
            for text in some:
                writer.write(features.serialize_example({"text": text, "id": 7, "parts": [text, "end"]}))
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
    found = read(files[1].path, dataset=str(dataset), text_field="parts")
    assert found.documents == ["drei\n\nüber\nend", "five\nend", "six\nend"]
    (loss,) = read(files[0].path, dataset=str(dataset), text_field="title").losses
    assert loss.reason == 'no feature "title" but id, parts, text (--text_field)'
    assert loss.bytes == files[0].bytes
    (loss,) = read(files[1].path, dataset=str(dataset), max_document_bytes=10).losses
    assert loss[1:3] == ("record", 1)


def test_tfds_dataset_that_is_cut_or_unknown_is_named(dataset, tmp_path):
    name = "mine-train.tfrecord-00001-of-00002"
    cut = tmp_path / name
    data = (dataset / name).read_bytes()
    cut.write_bytes(data[:-5])
    found = read(cut, dataset=str(dataset))
    assert found.documents == ["drei\n\nüber", "five"]
    (loss,) = found.losses
    assert (loss[1:3], loss.weight) == (("record", 3), len(data) - 5)
    with tf.io.TFRecordWriter(str(cut)) as writer:
        writer.write(b"no example")
    (bad,) = read(cut, dataset=str(dataset)).bad
    assert bad.reason.startswith("no example of this dataset")
    with pytest.raises(InputError, match='expected a split "test". Received a dataset with train'):
        match_files([f"tfds:{dataset}:test"])
    with pytest.raises(InputError, match="tfds:no_such_dataset: expected a dataset that TFDS knows, or the folder of"):
        match_files(["tfds:no_such_dataset"])
    with pytest.raises(InputError, match=r"--input tfds:x#test: expected .* write tfds:x:test"):
        match_files(["tfds:x#test"])


def test_tfds_file_with_fewer_records_than_promised_is_cut(dataset):
    """TFRecord itself does not tell the end of a file from a cut between two records."""
    (first, second) = match_files([f"tfds:{dataset}"])
    assert (first.records, second.records) == (3, 3)
    *_, loss, end = readers.read_part(next(iter(second._replace(records=4).parts())))
    assert loss.reason == "the file ends after 3 of 4 records, of which dataset_info.json tells"
    assert (loss.bytes, loss.weight, end.bytes) == (0, second.bytes, second.bytes)


def test_a_file_that_is_gone_is_no_bad_record(tmp_path):
    """Nothing that it holds is wrong: the job ends and goes on when the file is there again."""
    with pytest.raises(StorageError, match="gone.txt: expected a file that can be read. Received: No such file"):
        list(readers.read_documents(Part(str(tmp_path / "gone.txt"))))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: expected a file that can be read. Received: Is a directory"):
        list(readers.read_documents(Part(str(tmp_path / "folder"))))


def test_large_file_has_many_parts_and_a_growing_one_no_end(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PART_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"x" * 25)
    (tmp_path / "b.txt").write_bytes(b"")
    files = match_files([str(tmp_path / "*.txt")])
    found = [part[1:3] for file in files for part in file.parts()]
    assert found == [(0, 10), (10, 20), (20, None), (0, None)]


def names(*patterns) -> list[str]:
    return [pathlib.Path(file.path).name for file in match_files(list(map(str, patterns)))]


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.txt",
        "b.txt",
        "a[1].txt",
        "a1.txt",
        "x,y.txt",
        ".part.crc",
        "_SUCCESS",
        "_temporary/c.txt",
        "in/d.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    return tmp_path


def test_files_are_matched_once_and_sorted(folder):
    assert names(folder / "?.txt", folder / "a.*") == ["a.txt", "b.txt"]


def test_names_with_characters_of_globs_and_commas(folder):
    assert names(folder / "a[1].txt") == ["a[1].txt"]  # a file of this very name
    assert names(folder / "[ab].txt") == ["a.txt", "b.txt"]
    assert names(folder / "a[[]1].txt") == ["a[1].txt"]
    assert names(folder / "x,y.txt") == ["x,y.txt"]
    assert names(folder / "x,*.txt") == ["x,y.txt"]
    assert names(f"{folder}/b.txt,{folder}/a?.txt,") == ["a1.txt", "b.txt"]
    with pytest.raises(InputError, match="none.txt: expected at least one file. Received a glob that matches nothing"):
        names(f"{folder}/b.txt,{folder}/none.txt")
    with pytest.raises(InputError, match=r"nothing; \{...\} is no part of globs"):
        names(f"{folder}/{{a,b}}.txt")


def test_hidden_files_are_left_out_with_a_warning_unless_asked_for(folder, capsys):
    assert names(folder / "*") == ["a.txt", "a1.txt", "a[1].txt", "b.txt", "x,y.txt"]
    assert "warning: --input " in (warning := capsys.readouterr().err)
    assert "2 files are not read, since their names begin with . or _, such as" in warning
    assert names(folder / "**.txt") == ["a.txt", "a1.txt", "a[1].txt", "b.txt", "d.txt", "x,y.txt"]
    assert "1 files are not read" in capsys.readouterr().err
    assert names(folder / "_SUCCESS") == ["_SUCCESS"]
    assert names(folder / "_S*") == ["_SUCCESS"]
    assert names(folder / "_temporary/*") == ["c.txt"]
    assert names(folder / ".*.crc") == [".part.crc"]
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="a glob that matches only files whose names begin with . or _, such as"):
        names(folder / "*.crc")
    with pytest.raises(InputError, match="Received a folder; a glob of its files ends in /"):
        names(folder)
