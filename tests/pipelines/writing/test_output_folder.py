"""The folder of a job: what is reused, made again, refused or removed."""

import dataclasses
import json
import os
import shutil

import pytest

from bert_tf.core.errors import InputError, StorageError
from pipelines.jobs.job import JobConfig
from pipelines.reading.outcomes import Document
from pipelines.running import files
from pipelines.running.worker_errors import raised_in_launcher
from pipelines.writing import exchange, output_folder
from pipelines.writing import shards as shards_module
from tests.pipelines.jobs.test_pretraining_data import CONFIG, make, shard_bytes


def test_complete_folder_is_left_alone_and_others_are_refused(shards, corpus, corpus_vocab, tmp_path, capsys):
    before = shard_bytes(shards)
    make(corpus, corpus_vocab, shards)
    assert "nothing to do" in capsys.readouterr().out
    other = JobConfig(instances=CONFIG.instances, num_shards=4, validation_fraction=0.05)
    with pytest.raises(InputError, match="Received one made with num_shards = 3 instead of 4; --overwrite starts over"):
        make(corpus, corpus_vocab, shards, config=other)
    assert shard_bytes(shards) == before


def test_differences_name_the_field(shards, corpus, corpus_vocab):
    other = dataclasses.replace(CONFIG, instances=dataclasses.replace(CONFIG.instances, short_seq_prob=0.2))
    with pytest.raises(InputError, match="made with instances.short_seq_prob = 0.1 instead of 0.2; --overwrite"):
        make(corpus, corpus_vocab, shards, config=other)


def test_a_damaged_folder_is_mended(shards, corpus, corpus_vocab, tmp_path, capsys):
    copy = shutil.copytree(shards, tmp_path / "copy")
    (copy / "pretrain-train.tfrecord-00001-of-00003").unlink()
    manifest = make(corpus, corpus_vocab, copy)
    out = capsys.readouterr().out
    assert "lacks files that its dataset.json lists" in out
    assert "Resuming: 3 of 4 shards" in out
    assert shard_bytes(copy) == shard_bytes(shards)
    assert (copy / "COMPLETED").exists()
    assert len(manifest["shards"]) == 4


def test_shards_of_other_versions_are_not_mixed(shards, corpus, corpus_vocab, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["versions"]["numpy"] = "1.0"
    (copy / "dataset.json").write_text(json.dumps(manifest))
    assert make(corpus, corpus_vocab, copy) == manifest  # whole as it is
    (copy / "pretrain-train.tfrecord-00001-of-00003").unlink()
    with pytest.raises(InputError, match="one made from the same versions. Received one made with numpy = '1.0' inst"):
        make(corpus, corpus_vocab, copy)


def test_a_disk_that_cannot_be_written_costs_no_shard(shards, corpus, corpus_vocab, tmp_path, monkeypatch):
    written, write_shard = [], shards_module.write_shard

    def full_disk(output_dir, name, *arguments):
        if len(written) == 2:
            files.write_bytes(str(tmp_path / "no" / "such" / "folder"), b"")
        written.append(name)
        return write_shard(output_dir, name, *arguments)

    (tmp_path / "no").write_text("a file where a folder should be")
    monkeypatch.setattr(shards_module, "write_shard", full_disk)
    with pytest.raises(StorageError, match="expected a place that can be written"):
        make(corpus, corpus_vocab, tmp_path / "out")
    monkeypatch.undo()
    assert sorted(shard_bytes(tmp_path / "out")) == sorted(written)
    assert not (tmp_path / "out/exchange").exists()
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written}
    make(corpus, corpus_vocab, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == time for name, time in times.items())


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_while_it_clears_a_job_still_goes_on(shards, corpus, corpus_vocab, tmp_path, monkeypatch, overwrite):
    config = dataclasses.replace(CONFIG, dupe_factor=2) if overwrite else CONFIG
    make(corpus, corpus_vocab, tmp_path / "fresh", config=config)
    delete = output_folder.files.delete
    for allowed in range(4):
        copy = shutil.copytree(shards, tmp_path / f"copy-{allowed}")
        if not overwrite:
            (copy / "COMPLETED").unlink()
            (copy / "dataset.json").rename(copy / "job.json")
        left = allowed

        def killed(paths):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            delete(paths)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(output_folder.files, "delete", killed)
            make(corpus, corpus_vocab, copy, config=config, overwrite=overwrite)
        make(corpus, corpus_vocab, copy, config=config, overwrite=overwrite)
        assert shard_bytes(copy) == shard_bytes(tmp_path / "fresh")
        assert sorted(path.name for path in copy.iterdir()) == sorted(
            path.name for path in (tmp_path / "fresh").iterdir()
        )


def test_folder_of_an_older_format_is_refused(shards, corpus, corpus_vocab, tmp_path):
    shutil.copytree(shards, tmp_path / "old")
    manifest = json.loads((tmp_path / "old/dataset.json").read_text())
    (tmp_path / "old/dataset.json").write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(InputError, match="from the same format. Received one made with 1 instead of 7"):
        make(corpus, corpus_vocab, tmp_path / "old")


def test_killed_job_is_taken_up_and_leaves_no_stray_file(shards, corpus, corpus_vocab, tmp_path):
    make(corpus, corpus_vocab, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    finished = sorted(path.name for path in (tmp_path / "out").iterdir())
    # As a kill leaves it: the job's description and some shards are there, and a half-written temporary file.
    manifest = json.loads((tmp_path / "out/dataset.json").read_text())
    del manifest["counts"], manifest["shards"]
    (tmp_path / "out/job.json").write_text(json.dumps(manifest))
    for name in ("COMPLETED", "dataset.json", "pretrain-train.tfrecord-00001-of-00003"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / f"pretrain-train.tfrecord-00001-of-00003.{'0' * 32}.tmp").write_bytes(b"half")
    other = JobConfig(instances=CONFIG.instances, num_shards=4, validation_fraction=0.05)
    with pytest.raises(InputError, match="num_shards = 3 instead of 4"):
        make(corpus, corpus_vocab, tmp_path / "out", config=other)
    make(corpus, corpus_vocab, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == finished


def test_overwrite_leaves_no_stale_shard(corpus, corpus_vocab, tmp_path):
    config = JobConfig(instances=CONFIG.instances, num_shards=3)
    make(corpus, corpus_vocab, tmp_path / "out", config=config, pattern="0.txt")
    fewer = JobConfig(instances=CONFIG.instances, num_shards=2)
    make(corpus, corpus_vocab, tmp_path / "out", config=fewer, pattern="0.txt", overwrite=True)
    names = list(shard_bytes(tmp_path / "out"))
    assert [name[-8:] for name in names] == ["of-00002", "of-00002", "of-00001"]


def test_folder_of_others_is_refused_and_kept(corpus, corpus_vocab, tmp_path):
    (tmp_path / "pretrain-notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="or one that an earlier job made. Received one with pretrain-notes.txt"):
            make(corpus, corpus_vocab, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["pretrain-notes.txt"]


def test_bad_option_leaves_a_finished_folder_alone(shards, corpus, corpus_vocab):
    before = shard_bytes(shards)
    for arguments in (["--direct_num_wrkers=2"], ["stray.txt"], ["--direct_num_workers=x"], ["--runner=Nonsense"]):
        with pytest.raises(InputError):
            make(corpus, corpus_vocab, shards, overwrite=True, beam_arguments=arguments)
    with pytest.raises(InputError, match=r"--max_bad_fraction must lie in \[0, 1\]. Received: 7"):
        make(corpus, corpus_vocab, shards, overwrite=True, max_bad_fraction=7)
    with pytest.raises(InputError, match="expected a name without"):
        make(corpus, corpus_vocab, f"{shards}[1]", overwrite=True)
    with pytest.raises(InputError, match="Received a folder; a glob of its files ends in /"):
        make(corpus, corpus_vocab, shards, overwrite=True, pattern=".")
    assert shard_bytes(shards) == before
    assert (shards / "COMPLETED").exists()


def test_changed_input_of_the_same_size_is_not_taken_for_the_same(corpus_vocab, tmp_path):
    (tmp_path / "a.txt").write_text("One here. Two here.\n\nThree here. Four here.\n")
    config = JobConfig(instances=CONFIG.instances, num_shards=1, validation_fraction=0)
    make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="a.txt")
    (tmp_path / "a.txt").write_text("Two here. One here.\n\nThree here. Four here.\n")
    os.utime(tmp_path / "a.txt", (1, 1))
    with pytest.raises(InputError, match="made from the same input. Received one made with other files, or files that"):
        make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="a.txt")


def test_failed_job_leaves_an_empty_folder(corpus_vocab, tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    for _ in range(2):
        with pytest.raises(InputError, match="expected text for at least one instance"):
            make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")
        assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "a.txt").write_text("One here. Two here.\n\nThree. Four.\n")
    make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")
    (tmp_path / "a.txt").write_text("\n")
    for _ in range(2):
        with pytest.raises(InputError, match="expected text for at least one instance"):
            make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt", overwrite=True)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["vocab.txt"]
    (tmp_path / "out/vocab.txt").write_text("mine")
    with pytest.raises(InputError, match="Received one with vocab.txt"):
        make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")


def test_place_that_cannot_be_written_is_named(corpus_vocab, corpus, tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "out", tmp_path / "file"):
        with pytest.raises(InputError, match="expected a (folder|place) that can be written"):
            make(corpus, corpus_vocab, path)
        with pytest.raises(InputError, match="expected a place that can be written"):
            files.check_writable(str(path if path.name == "out" else tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_killed_at_its_first_write_a_job_still_goes_on(shards, corpus, corpus_vocab, tmp_path):
    (tmp_path / f"job.json.{'0' * 32}.tmp").write_text("{")
    make(corpus, corpus_vocab, tmp_path)
    assert shard_bytes(tmp_path) == shard_bytes(shards)
    assert not list(tmp_path.glob("*.tmp"))


def test_blocks_that_cannot_be_written_or_read_are_reported(tmp_path):
    (tmp_path / "file").write_text("where a folder should be")
    step = exchange.ToBlocks(lambda text: [("pool", b"0" * 16)], str(tmp_path / "file"))
    step.start_bundle()
    list(step.process([Document("a document")]))
    sentence = "file/.*: expected a place that can be written. Received: File exists"
    with pytest.raises(StorageError, match=sentence), raised_in_launcher():
        list(step.finish_bundle())
    gone = exchange.Place(str(tmp_path / "gone"), 0, 10)
    with pytest.raises(StorageError, match="gone: expected what this job wrote there. .*another job may be writing"):
        exchange.read_blocks([gone])
