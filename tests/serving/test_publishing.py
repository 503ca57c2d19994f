"""Versions of a SavedModel on a real server of S3."""

import pathlib

import pytest

from bert_tf.core.errors import StorageError
from bert_tf.core.stores import objects
from bert_tf.serving.export import publishing
from tests.support.stores import servers

_FIRST = "assets.extra/bert_tf.json"
_NAMES = [_FIRST, "saved_model.pb", "variables/variables.index"]


@pytest.fixture(scope="module")
def proxy():
    with servers.proxied("s3", patience=1) as found:
        yield found


@pytest.fixture
def output(proxy, request) -> str:
    proxy.answer = None
    return f"s3://{servers.BUCKET}/{request.node.name}/labels"


@pytest.fixture
def version(tmp_path) -> pathlib.Path:
    folder = tmp_path / "version"
    for name in _NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_versions_are_numbered_and_the_local_folder_is_gone(output, version):
    objects.write_bytes(f"{output}/7/saved_model.pb", b"an older one")
    assert publishing.publish(str(version), output, first=_FIRST) == f"{output}/8"
    assert list(objects.below(f"{output}/8")) == _NAMES
    assert objects.read_bytes(f"{output}/8/saved_model.pb") == b"saved_model.pb"
    assert not version.exists()


def test_the_graph_comes_last(output, version, monkeypatch):
    copied, copy = [], objects.copy
    monkeypatch.setattr(objects, "copy", lambda source, target: (copied.append(target), copy(source, target)))
    publishing.publish(str(version), output, first=_FIRST)
    assert copied == [f"{output}/1/variables/variables.index", f"{output}/1/saved_model.pb"]


def test_an_upload_that_fails_leaves_nothing(output, version, monkeypatch, proxy):
    copy = objects.copy

    def failing(source, target):
        if target.endswith("saved_model.pb"):
            proxy.answer = 403
            try:
                copy(source, target)
            finally:
                proxy.answer = None
        copy(source, target)

    monkeypatch.setattr(objects, "copy", failing)
    with pytest.raises(StorageError, match="1/saved_model.pb: expected permission to write it"):
        publishing.publish(str(version), output, first=_FIRST)
    assert objects.below(output) == {}


def test_an_upload_that_was_killed_long_ago_is_removed(output, version, monkeypatch, capsys):
    objects.write_bytes(f"{output}/3/{_FIRST}", b"{}")
    monkeypatch.setattr(publishing, "_ABANDONED", -10.0)
    assert publishing.publish(str(version), output, first=_FIRST) == f"{output}/4"
    assert "version 3 was never finished; it is removed." in capsys.readouterr().out
    assert not objects.below(f"{output}/3")


def test_the_number_of_an_upload_that_goes_on_is_not_taken(output, version):
    objects.write_bytes(f"{output}/1/{_FIRST}", b"{}")
    assert publishing.publish(str(version), output, first=_FIRST) == f"{output}/2"
