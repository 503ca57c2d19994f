"""A workdir's copy in another folder; tests/stores walks through the same on servers of S3 and Google."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from bert_tf.core.config import PretrainConfig, TrainConfig
from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores import objects
from bert_tf.models.bert.config import preset
from bert_tf.training.workdir.mirror import Mirror

CONFIG = PretrainConfig(model=preset("tiny"))


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(CONFIG)))
    (folder / "checkpoints" / "step-1.safetensors").write_bytes(b"one")
    (folder / "checkpoints" / "step-2.safetensors.tmp").write_bytes(b"half")
    return folder


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "copy" / "run")


def names_in(url: str) -> set[str]:
    return {str(path.relative_to(url)) for path in pathlib.Path(url).rglob("*") if path.is_file()}


def test_there_and_back(workdir, url, tmp_path):
    mirror = Mirror(str(workdir), url)
    mirror.push()
    assert names_in(url) == {"config.json", "checkpoints/step-1.safetensors"}
    (workdir / "checkpoints" / "step-1.safetensors").unlink()
    (workdir / "checkpoints" / "step-3.safetensors").write_bytes(b"three")
    (workdir / "metrics.jsonl").write_text("first\n")
    mirror.push()
    (workdir / "metrics.jsonl").write_text("first\nsecond\n")
    Mirror(str(workdir), url).push()  # of the run that goes on
    Mirror(str(tmp_path / "new"), url).fetch(CONFIG)
    found = {str(path.relative_to(tmp_path / "new")): path for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert set(found) == {"config.json", "metrics.jsonl", "checkpoints/step-3.safetensors"}
    assert found["metrics.jsonl"].read_text() == "first\nsecond\n"
    assert found["checkpoints/step-3.safetensors"].read_bytes() == b"three"


def test_a_slash_at_the_end_changes_nothing(workdir, url, tmp_path):
    Mirror(str(workdir), url + "/").push()
    assert names_in(url) == {"config.json", "checkpoints/step-1.safetensors"}
    Mirror(str(tmp_path / "new"), url + "//").fetch(CONFIG)
    assert (tmp_path / "new" / "config.json").read_bytes() == (workdir / "config.json").read_bytes()


def test_a_workdir_that_holds_a_run_is_left_alone(workdir, url):
    Mirror(str(workdir), url).push()
    (workdir / "metrics.jsonl").write_text("newer\n")
    Mirror(str(workdir), url).fetch(CONFIG)
    assert (workdir / "metrics.jsonl").read_text() == "newer\n"


def test_an_older_workdir_does_not_replace_a_newer_copy(workdir, url, tmp_path):
    """A machine that comes back with its old disk, after another one went on."""
    shutil.copytree(workdir, tmp_path / "old")
    (workdir / "checkpoints" / "step-5.safetensors").write_bytes(b"five")
    Mirror(str(workdir), url).push()
    stale = Mirror(str(tmp_path / "old"), url)
    stale.push()  # of a machine that was never away
    assert "checkpoints/step-5.safetensors" in names_in(url)
    stale.fetch(CONFIG)
    assert (tmp_path / "old" / "checkpoints" / "step-5.safetensors").read_bytes() == b"five"


def test_a_run_that_rewinds_is_not_undone_by_its_copy(workdir, url, tmp_path):
    mirror = Mirror(str(workdir), url)
    (workdir / "checkpoints" / "step-5.safetensors").write_bytes(b"five")
    mirror.push()
    (workdir / "checkpoints" / "step-5.safetensors").unlink()
    mirror.push()
    assert names_in(url) == {"config.json", "checkpoints/step-1.safetensors"}
    Mirror(str(workdir), url).fetch(CONFIG)
    assert not (workdir / "checkpoints" / "step-5.safetensors").exists()


def test_a_copy_of_another_run_is_refused_and_nothing_is_fetched(workdir, url, tmp_path):
    Mirror(str(workdir), url).push()
    other = dataclasses.replace(CONFIG, train=TrainConfig(steps=7))
    for folder in (workdir, tmp_path / "new"):
        with pytest.raises(InputError, match="train.mirror=.*another config lives there, differing in train.steps"):
            Mirror(str(folder), url).fetch(other)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["", "mirror", "a/b"])
def test_a_copy_inside_of_the_workdir_is_refused(workdir, place):
    with pytest.raises(InputError, match="expected a folder outside of --workdir"):
        Mirror(str(workdir), str(workdir / place)).fetch(CONFIG)


def test_what_is_unfinished_or_gone_meanwhile_is_left_out(workdir, url, monkeypatch):
    (workdir / ".model.x.tmp").mkdir()
    (workdir / ".model.x.tmp" / "model.safetensors").write_bytes(b"half")
    (workdir / "gone.txt").write_text("soon")
    copy = objects.copy

    def removing(source, *arguments, **more):
        (workdir / "gone.txt").unlink(missing_ok=True)
        return copy(source, *arguments, **more)

    monkeypatch.setattr(objects, "copy", removing)
    Mirror(str(workdir), url).push()
    assert names_in(url) == {"config.json", "checkpoints/step-1.safetensors"}


def test_an_unchanged_file_is_copied_once(workdir, url, monkeypatch):
    mirror = Mirror(str(workdir), url)
    mirror.push()
    copied = []
    monkeypatch.setattr(objects, "copy", lambda *arguments, **_: copied.append(arguments))
    mirror.push()
    assert not copied


def test_what_cannot_be_written_is_told_and_does_not_stop_a_run(workdir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    mirror = Mirror(str(workdir), str(tmp_path / "file" / "run"))
    with pytest.raises(StorageError, match="train.mirror=.*file/run: expected a folder that can be written"):
        mirror.push()
    mirror.try_push()
    assert "warning: train.mirror=" in capsys.readouterr().out


def test_a_scheme_that_nobody_knows_is_told(tmp_path):
    with pytest.raises(InputError, match="nowhere://run.*: expected a local path, s3://BUCKET/KEY or gs://BUCKET/KEY"):
        Mirror(str(tmp_path / "new"), "nowhere://run").fetch(CONFIG)


def test_none_does_nothing(workdir):
    Mirror(str(workdir), "").push()
    Mirror(str(workdir / "new"), "").fetch(CONFIG)
    assert not (workdir / "new").exists()
