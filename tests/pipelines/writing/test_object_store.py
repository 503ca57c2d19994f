"""A job whose output is in an object store, where no folder ever exists."""

import pytest

from bert_tf.core.errors import InputError
from pipelines.jobs.job import JobConfig
from pipelines.running import files
from pipelines.writing import shards as shards_module
from tests.pipelines.jobs.test_pretraining_data import CONFIG, make
from tests.support import object_store  # noqa: F401 - Beam finds it by its class


@pytest.fixture
def store(tmp_path):
    """The URL of a place in an empty store."""
    (tmp_path / "store").mkdir()
    return f"objects://{tmp_path / 'store'}//jobs/out"


def config_of(num_shards: int) -> JobConfig:
    # TFDS, which writes metadata for shards that are not compressed, knows no such store.
    return JobConfig(instances=CONFIG.instances, num_shards=num_shards, compression="gzip")


def shard_hashes(store: str) -> dict[str, str]:
    names = [name for name in files.names(store) if name.startswith("pretrain-")]
    return {name: files.sha256_of(f"{store}/{name}") for name in names}


def test_the_bytes_are_those_of_a_folder_and_nothing_else_is_left(store, corpus, corpus_vocab, tmp_path):
    made = make(corpus, corpus_vocab, store, config=config_of(3))
    make(corpus, corpus_vocab, tmp_path / "local", config=config_of(3))
    assert shard_hashes(store) == shard_hashes(str(tmp_path / "local"))
    assert {info["name"]: info["sha256"] for info in made["shards"]} == shard_hashes(store)
    kept = files.names(store)
    assert sorted(path.name for path in (tmp_path / "local").iterdir() if path.is_file()) == kept
    # Not even below it: neither documents on their way nor notes of progress.
    assert len(list((tmp_path / "store").iterdir())) == len(kept)


def test_overwritten_with_fewer_shards_none_is_left_over(store, corpus, corpus_vocab):
    make(corpus, corpus_vocab, store, config=config_of(3))
    with pytest.raises(InputError, match="num_shards = 3 instead of 2; --overwrite starts over"):
        make(corpus, corpus_vocab, store, config=config_of(2))
    make(corpus, corpus_vocab, store, config=config_of(2), overwrite=True)
    assert {name[-8:] for name in shard_hashes(store) if "train." in name} == {"of-00002"}


def test_a_job_that_stopped_keeps_its_shards(store, corpus, corpus_vocab, tmp_path, monkeypatch, capsys):
    make(corpus, corpus_vocab, tmp_path / "whole", config=config_of(3))
    written, write_shard = [], shards_module.write_shard

    def stopped(output_dir, name, *arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(name)
        return write_shard(output_dir, name, *arguments)

    with monkeypatch.context() as patch, pytest.raises(BaseException):  # noqa: B017 - Beam wraps it
        patch.setattr(shards_module, "write_shard", stopped)
        make(corpus, corpus_vocab, store, config=config_of(3))
    assert "COMPLETED" not in files.names(store)
    make(corpus, corpus_vocab, store, config=config_of(3))
    assert "Resuming: 2 of 4 shards" in capsys.readouterr().out
    assert shard_hashes(store) == shard_hashes(str(tmp_path / "whole"))


def test_what_others_keep_there_is_seen(store, corpus, corpus_vocab):
    files.write_bytes(f"{store}/notes.txt", b"mine")
    with pytest.raises(InputError, match="or one that an earlier job made. Received one with notes.txt"):
        make(corpus, corpus_vocab, store, config=config_of(3))
