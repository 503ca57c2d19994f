"""The progress lines of a running job."""

from pipelines.reading.outcomes import Document
from pipelines.writing.exchange import ToBlocks
from pipelines.writing.progress import Progress


def test_shards_that_were_there_before_are_no_work_of_now(tmp_path):
    progress = Progress(str(tmp_path), total=6, kept=3, text_bytes=6e6, passes=1.0)
    assert progress._line(100, 2_000_000, 3, 2.0) == "2 s: 100 documents, 2 MB read of about 6, 1.0 MB/s"
    # Two of six shards in two seconds, of 6 MB.
    assert progress._line(0, 0, 5, 2.0) == "2 s: 5 of 6 shards finished, 1.0 MB/s from text to shards"


def test_progress_comes_from_the_files_that_a_job_writes(tmp_path):
    (tmp_path / "exchange").mkdir()
    step = ToBlocks(lambda text: [("a", b"0" * 16), ("b", b"1" * 16)], str(tmp_path / "exchange"))
    step.start_bundle()
    assert list(step.process([Document("one"), Document("three")])) == [] and len(list(step.finish_bundle())) == 2
    (tmp_path / "pretrain-train.tfrecord-00000-of-00002").write_bytes(b"")
    (tmp_path / "dataset.json").write_text("{}")
    progress = Progress(str(tmp_path), total=2, kept=0, text_bytes=8.0, passes=2.0)
    assert progress._look() == (4, 16, 1)
    (tmp_path / "exchange/another.json").write_text('{"documents": 1, "bytes": 3}')
    (tmp_path / "exchange/another.json.0123456789abcdef0123456789abcdef.tmp").write_text("{")
    assert progress._look() == (5, 19, 1)
