import gzip
import json
import pathlib
import random
import re

import pyarrow
import pyarrow.parquet
import pytest

from bert_tf.core.errors import InputError
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.jobs.vocabulary_learning import build_vocab
from pipelines.reading import inputs
from pipelines.reading.accounts import Account, LostFile, Reading, check, of_all, of_file
from pipelines.reading.inputs import InputFile, match_files
from pipelines.reading.outcomes import BadRecord, Loss
from pipelines.reading.readers import Format
from pipelines.reading.reading import ReadDocuments
from pipelines.reading.streams import storage_failed
from pipelines.running.options import local_options
from pipelines.running.pipeline import running
from pipelines.writing.report import summary

FORMAT = Format(max_document_bytes=1_000_000)


def document(number: int) -> str:
    words = random.Random(number)
    return " ".join(
        f"The {words.choice(['red', 'green', 'blue'])} house has {words.randrange(99)} doors." for _ in range(9)
    )


@pytest.fixture
def folder(tmp_path):
    """300 good documents."""
    (tmp_path / "good.txt").write_text("\n\n".join(map(document, range(300))))
    return tmp_path


def reading_of(patterns, output: pathlib.Path, **limits) -> dict:
    """The report of a job that only reads."""
    report = output / "report.json"
    with running(local_options([])) as root:
        limits = {"max_bad_fraction": 0.01, **limits}
        letter = str(output / "letter.jsonl")
        _ = root | ReadDocuments(match_files(patterns), FORMAT, **limits, dead_letter=letter, report=str(report))
    return json.loads(report.read_text())


def parquet_of_another_column(folder) -> tuple[str, str, int]:
    table = pyarrow.table({"content": [document(n) for n in range(3000)]})
    pyarrow.parquet.write_table(table, folder / "b.parquet")
    return "b.parquet", 'no column "text" but content (--text_field)', 0


def gzip_that_is_cut(folder) -> tuple[str, str, int]:
    lines = [json.dumps({"id": random.Random(n).randbytes(300).hex(), "text": document(n)}) for n in range(3000)]
    data = gzip.compress("\n".join(lines).encode())
    (folder / "b.jsonl.gz").write_bytes(data[: len(data) // 20])
    return "b.jsonl.gz", "reading failed: the file ends within its gzip data", 148


def json_of_another_field(folder) -> tuple[str, str, int]:
    (folder / "b.jsonl").write_text("\n".join(json.dumps({"content": document(n)}) for n in range(3)))
    return "b.jsonl", 'none of its 3 records is a document, the first at line 1: no JSON object with a string "text"', 0


def array_that_is_cut(folder) -> tuple[str, str, int]:
    (folder / "b.json").write_text(json.dumps([{"text": document(n)} for n in range(3000)])[:-30_000])
    return "b.json", "JSON that ends within a value", 2890


def document_that_is_too_large(folder) -> tuple[str, str, int]:
    (folder / "b.txt").write_text(
        "One. Two.\n\n" + "\n".join(document(n % 9) for n in range(6000)) + "\n\nThree. Four."
    )
    return "b.txt", "line 3: a document of more than 1,000,000 bytes without a blank line (--max_document_bytes)", 2


CASES = [
    parquet_of_another_column,
    gzip_that_is_cut,
    json_of_another_field,
    array_that_is_cut,
    document_that_is_too_large,
]


@pytest.mark.parametrize("make", CASES)
def test_a_lost_file_beside_300_good_documents_ends_the_job_unless_it_is_allowed(folder, tmp_path, make):
    name, reason, documents = make(folder)
    size = (folder / name).stat().st_size
    patterns = [str(folder / "good.txt"), str(folder / name)]
    with pytest.raises(InputError) as refused:
        reading_of(patterns, tmp_path)
    sentence = str(refused.value)
    assert sentence.startswith("--input: expected complete files. Received " + str(folder / name))
    assert reason in sentence
    assert f"of {size:,} bytes were not" in sentence
    allowed = float(re.search(r"--max_lost_fraction=(0\.\d+)", sentence)[1])
    report = reading_of(patterns, tmp_path, max_lost_fraction=allowed)
    (lost,) = report["lost_files_listed"]
    assert (lost["path"], lost["bytes"], lost["reason"].endswith(reason)) == (str(folder / name), size, True)
    assert abs(lost["documents"] - documents) <= documents / 4  # zlib's versions compress differently
    assert report["bytes"] == report["bytes_read"] + report["bytes_in_bad_records"] + report["bytes_lost"]
    assert report["bytes"] == size + (folder / "good.txt").stat().st_size
    with pytest.raises(InputError, match=r"expected complete files \(at most"):
        reading_of(patterns, tmp_path, max_lost_fraction=allowed - 0.002)


def test_an_array_on_one_line_is_read(folder, tmp_path):
    (folder / "b.json").write_text(json.dumps([{"text": document(n)} for n in range(3000)]))
    (tmp_path / "letter.jsonl").write_text("of an earlier job")
    report = reading_of([str(folder / "*.json")], tmp_path)
    assert not (tmp_path / "letter.jsonl").exists()
    assert (report["bytes_read"], report["lost_files"]) == ((folder / "b.json").stat().st_size, 0)


def test_the_summary_and_dataset_json_list_lost_files(folder, tmp_path, corpus_vocab):
    name, reason, _ = parquet_of_another_column(folder)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "blank.txt").write_bytes(b"\n \n")
    where = {"input_patterns": [f"{folder}/*.txt,{folder}/{name}"], "vocab": str(corpus_vocab)}
    config = JobConfig(instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10), num_shards=1)
    with pytest.raises(InputError, match="Received .*b.parquet, of which 0 documents were read"):
        create_pretraining_data(**where, output_dir=str(tmp_path / "out"), config=config)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dead_letter.jsonl"]
    manifest = create_pretraining_data(**where, output_dir=str(tmp_path / "out"), config=config, max_lost_fraction=0.9)
    size = (folder / name).stat().st_size
    assert manifest["reading"]["lost_files_listed"] == [
        {"path": str(folder / name), "bytes": size, "bytes_not_read": size, "documents": 0, "reason": reason}
    ]
    assert (manifest["counts"]["documents_read"], manifest["reading"]["empty_files"]) == (300, 2)
    assert f"{folder / name}: {size:,} of {size:,} bytes not read: {reason}" in summary(manifest)
    (line,) = (tmp_path / "out/dead_letter.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == reason
    # The same command with a lower limit found a complete folder, and had nothing to do.
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="Received .*b.parquet, of which 0 documents were read .*out was made with"):
        create_pretraining_data(**where, output_dir=str(tmp_path / "out"), config=config)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    again = create_pretraining_data(**where, output_dir=str(tmp_path / "out"), config=config, max_lost_fraction=0.9)
    assert again == manifest


def test_a_reading_comes_back_from_dataset_json():
    bad = BadRecord("b.txt", "line", 3, "broken", 7)
    lost = LostFile("a.txt", 100, 60, 2, "it ends")
    # The file counts with all its bytes, since it ends early.
    reading = Reading(9, 1000, 933, 2, 7, bad, lost_files=1, lost_bytes=60, weight=100, empty_files=1, listed=(lost,))
    found = Reading.from_dict(json.loads(json.dumps(reading.as_dict())))
    assert found == reading
    with pytest.raises(InputError, match="allow the loss with --max_lost_fraction=0.1."):
        check(found, max_lost_fraction=0.09, max_bad_fraction=1)
    with pytest.raises(InputError, match="Received 2 beside 9 documents, the first at b.txt, line 3: broken"):
        check(found, max_lost_fraction=0.1, max_bad_fraction=0.1)
    check(found, max_lost_fraction=0.1, max_bad_fraction=0.2)


def test_build_vocab_refuses_and_tells_losses_too(folder, tmp_path, command):
    name, reason, _ = parquet_of_another_column(folder)
    patterns = [str(folder / "good.txt"), str(folder / name)]
    output = tmp_path / "v" / "vocab.txt"
    output.parent.mkdir()
    with pytest.raises(InputError, match="of which 0 documents were read"):
        build_vocab(input_patterns=patterns, output=str(output), vocab_size=100)
    arguments = ["--input", ",".join(patterns), "--output", output, "--vocab_size=100", "--max_lost_fraction=0.9"]
    process = command("pipelines.build_vocab", *arguments, "--document_per_file")
    assert process.returncode == 0, process.stderr
    assert f"{name}: " in process.stdout and reason in process.stdout
    assert sorted(path.name for path in output.parent.iterdir()) == ["vocab.txt", "vocab.txt.dead_letter.jsonl"]


def test_a_bad_record_counts_by_its_bytes_as_well(folder, tmp_path):
    (folder / "b.txt").write_bytes(b"fine\n\n" + b"\xff" * 10_000)
    with pytest.raises(InputError) as refused:
        reading_of([str(folder / "*.txt")], tmp_path)
    assert "Received 1 beside 301 documents with " in str(refused.value)
    report = reading_of([str(folder / "*.txt")], tmp_path, max_bad_fraction=0.5)
    assert report["bytes_in_bad_records"] == 10_000


def test_parts_of_a_file_are_one_file(tmp_path, monkeypatch):
    """Documents in one part only, and bytes that add up over all of them."""
    monkeypatch.setattr(inputs, "PART_BYTES", 1000)
    lines = [f'{{"no": "{n:090}"}}' for n in range(99)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": "one"}']))
    report = reading_of([str(tmp_path / "a.jsonl")], tmp_path, max_bad_fraction=1.0)
    assert report["lost_files"] == 0
    assert report["bytes"] == report["bytes_read"] + report["bytes_in_bad_records"] == 99 * 101 + 15
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match="none of its 99 records is a document, the first at line 1: no JSON object"):
        reading_of([str(tmp_path / "a.jsonl")], tmp_path, max_bad_fraction=1.0)


def test_a_file_that_shrinks_after_it_is_listed_is_lost(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    listed = [InputFile(str(tmp_path / "a.txt"), 100, 0.0)]
    with (
        pytest.raises(InputError, match="92 of 100 bytes were not: the file became shorter after it was listed"),
        running(local_options([])) as root,
    ):
        _ = root | ReadDocuments(listed, Format(), max_bad_fraction=0.01)


def test_many_bad_records_are_all_counted_and_the_first_listed(tmp_path):
    lines = ["{}" if n % 50 else json.dumps({"text": f"One here {n}. Two."}) for n in range(30_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    sentence = "Received 29400 beside 600 documents, .*a.jsonl, line 2: .* 10,000 of 29,400 are listed in "
    with pytest.raises(InputError, match=sentence):
        reading_of([str(tmp_path / "a.jsonl")], tmp_path, max_bad_fraction=0.5)
    positions = [json.loads(line)["position"] for line in (tmp_path / "letter.jsonl").read_text().splitlines()]
    assert positions == [n + 1 for n in range(30_000) if n % 50][:10_000]


@pytest.mark.parametrize("name", ["max_bad_fraction", "max_lost_fraction"])
def test_shares_lie_between_0_and_1(name):
    with pytest.raises(InputError, match=rf"--{name} must lie in \[0, 1\]. Received: 7"):
        ReadDocuments([], Format(), **{"max_bad_fraction": 0.01, name: 7})


@pytest.mark.parametrize("runner", ["FnApiRunner", "DirectRunner", "DataflowRunner"])
def test_a_misspelt_flag_is_refused_on_any_runner_without_a_job_server(runner):
    with pytest.raises(InputError, match="Expected flags of this command or of Beam. Received: --num_shard=3"):
        local_options([f"--runner={runner}", "--num_shard=3"])
    local_options(["--runner=FlinkRunner", "--flink_version=1.19"])


def test_a_lost_file_without_bytes_ends_the_job_too():
    account = Account(first_loss=Loss("a.tfrecord", "record", 1, "it has 0 records; dataset_info.json lists 3", 0, 0))
    reading = of_all([of_file("a.tfrecord", account), of_file("b.txt", Account(bytes=9, documents=1, bytes_read=9))])
    with pytest.raises(InputError, match="expected complete files. Received a.tfrecord"):
        check(reading, max_lost_fraction=0.0, max_bad_fraction=0.01)
    check(reading, max_lost_fraction=0.001, max_bad_fraction=0.01)


def test_the_fraction_that_is_proposed_is_enough():
    lost = Account(bytes=57, lost_bytes=57, weight=57, first_loss=Loss("a", "byte", 0, "cut", 57, 57))
    reading = of_all([of_file("a", lost), of_file("b", Account(bytes=43, documents=1, bytes_read=43))])
    check(reading, max_lost_fraction=0.57, max_bad_fraction=0.01)
    with pytest.raises(InputError, match="--max_lost_fraction=0.57"):
        check(reading, max_lost_fraction=0.56, max_bad_fraction=0.01)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError("by peer")])
def test_a_store_that_does_not_answer_is_no_damage(error):
    assert storage_failed(error)
