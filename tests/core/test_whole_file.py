"""Files and folders that are there whole or not at all."""

import json
import os

import pytest

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import PretrainConfig
from bert_tf.core.errors import StorageError
from bert_tf.models.bert.config import preset

PRETRAIN = PretrainConfig(model=preset("tiny"))


def full_disk_at(path) -> None:
    """Writes to the temporary file of this name fail as they do on a full disk."""
    os.symlink("/dev/full", f"{path}.tmp")


def test_a_file_takes_its_name_when_all_is_written(tmp_path):
    path = tmp_path / "scores.json"
    with whole_file.replacing(str(path)) as file:
        file.write("one")
        file.flush()
        assert not path.exists()
    assert path.read_text() == "one"
    whole_file.write_json(str(path), {"naïve": [1, 2]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"naïve": [1, 2]}
    assert os.listdir(tmp_path) == ["scores.json"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("old")
    full_disk_at(path)
    with pytest.raises(StorageError, match="config.json: expected a file that can be written. Received: No space"):
        config_io.save(PRETRAIN, str(path))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["config.json"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), whole_file.replacing(str(tmp_path / "x"), "wb") as file:
        file.write(b"half")
        raise KeyError
    with pytest.raises(KeyError), whole_file.replacing_folder(str(tmp_path / "y")) as folder:
        (tmp_path / folder / "half").write_text("x")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    path = tmp_path / "below" / "model"
    for names in (("a", "b"), ("b", "c")):
        with whole_file.replacing_folder(str(path)) as folder:
            for name in names:
                whole_file.write_json(os.path.join(folder, name), name)
            assert not path.exists() or sorted(os.listdir(path)) == ["a", "b"]
        assert sorted(os.listdir(path)) == list(names) and os.stat(path).st_mode & 0o777 == 0o755
    with (
        pytest.raises(StorageError, match="c: expected a file that can be written. Received: No space left"),
        whole_file.replacing_folder(str(path)) as folder,
    ):
        full_disk_at(os.path.join(folder, "c"))
        whole_file.write_json(os.path.join(folder, "c"), "new")
    assert json.loads((path / "c").read_text()) == "c" and os.listdir(path.parent) == ["model"]
    with (
        pytest.raises(StorageError, match="file/model: expected a folder that can be written. Received: Not a direct"),
        whole_file.replacing_folder(str(path / "c" / "file" / "model")),
    ):
        pass


def test_a_config_that_cannot_be_kept_is_told(tmp_path):
    full_disk_at(tmp_path / "config.json")
    with pytest.raises(StorageError, match="config.json: expected a file that can be written"):
        config_io.settle(PRETRAIN, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_the_older_folder_comes_back_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    path, rename = tmp_path / "model", os.rename
    path.mkdir()
    (path / "old").write_text("old")

    def fails_for_the_new_one(source, target):
        if not str(source).endswith(".old") and str(target) == str(path):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new_one)
    with (
        pytest.raises(StorageError, match="model: expected a folder that can be written. Received: Input/output error"),
        whole_file.replacing_folder(str(path)),
    ):
        pass
    assert (path / "old").read_text() == "old" and os.listdir(tmp_path) == ["model"]
