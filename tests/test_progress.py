"""What a job tells of itself while it runs."""

from pipelines.progress import Progress


def test_shards_that_were_there_before_are_no_work_of_now(tmp_path):
    progress = Progress(str(tmp_path), total=6, kept=3, text_bytes=6e6, passes=1.0)
    assert progress._told(100, 2_000_000, 3, 2.0) == "2 s: 100 documents, 2 MB read of about 6, 1.0 MB/s"
    # Two of six shards in two seconds, of 6 MB.
    assert progress._told(0, 0, 5, 2.0) == "2 s: 5 of 6 shards finished, 1.0 MB/s from text to shards"
