"""The layer on files of stores, on a real server of S3 and on local files; tests/stores has whole commands."""

import hashlib
import os
import threading

import pytest

from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.stores import objects
from bert_tf.core.stores.cache import Cache
from tests.support.stores import servers


@pytest.fixture(scope="module")
def proxy():
    with servers.proxied("s3", patience=4) as found:
        yield found


@pytest.fixture(params=["s3", "local"])
def folder(request, proxy, tmp_path) -> str:
    proxy.answer = None
    name = request.node.name.replace("[", "-").rstrip("]")
    return f"s3://{servers.BUCKET}/{name}" if request.param == "s3" else str(tmp_path / "out")


def content_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251 + 1)


def test_what_is_written_is_read_from_anywhere(folder):
    data = content_of(9_000_000)
    path = objects.join(folder, "inner", "data")
    objects.write_bytes(path, data)
    with objects.open_to_read(path) as file:
        assert file.read(3) == data[:3]
        file.seek(8_500_000)  # behind the first read
        assert file.read(10) == data[8_500_000:8_500_010]
        file.seek(-4, os.SEEK_END)
        assert file.read() == data[-4:] and file.read() == b""
        file.seek(0)
        assert file.read() == data
    assert objects.stat(path).bytes == len(data)


def test_an_empty_file_and_none(folder):
    objects.write_bytes(objects.join(folder, "COMPLETED"), b"")
    assert objects.read_bytes(objects.join(folder, "COMPLETED")) == b""
    assert objects.stat(objects.join(folder, "other")) is None
    assert objects.below(objects.join(folder, "other")) == {}
    with pytest.raises(StorageError, match="expected an object that exists. Received none of this name"):
        objects.read_bytes(objects.join(folder, "other"))


def test_names_below_a_folder(folder):
    for name in ("b", "a/c", "a/d/e"):
        objects.write_bytes(objects.join(folder, name), name.encode())
    objects.write_bytes(folder + "x/f", b"of another folder")
    assert list(objects.below(folder)) == ["a/c", "a/d/e", "b"]
    assert list(objects.below(folder, shallow=True)) == ["b"]
    objects.delete([objects.join(folder, name) for name in ("b", "a/c", "never")])
    assert list(objects.below(folder)) == ["a/d/e"]


def test_a_name_is_given_once(folder):
    path = objects.join(folder, "claim")
    objects.write_bytes(path, b"first", if_absent=True)
    with pytest.raises(StorageError, match="claim: expected an object that nobody changes meanwhile"):
        objects.write_bytes(path, b"second", if_absent=True)
    assert objects.read_bytes(path) == b"first"


def test_nothing_appears_if_writing_fails(folder):
    with pytest.raises(KeyError), objects.writing(objects.join(folder, "half")) as file:
        file.write(b"half")
        raise KeyError
    assert objects.below(folder) == {}


def test_an_object_that_changes_while_it_is_read(proxy):
    path = f"s3://{servers.BUCKET}/changing"
    objects.write_bytes(path, content_of(9_000_000))
    with objects.open_to_read(path) as file:
        file.read(3)
        objects.write_bytes(path, b"y" + content_of(9_000_000))
        with pytest.raises(StorageError, match="expected an object that nobody changes meanwhile. Received: HTTP 412"):
            file.read()


@pytest.mark.parametrize("answer", [503, 429, 0])
def test_a_server_that_comes_back(proxy, answer):
    proxy.answer = answer
    threading.Timer(0.5, lambda: setattr(proxy, "answer", None)).start()
    objects.write_bytes(f"s3://{servers.BUCKET}/late", b"late")
    assert objects.read_bytes(f"s3://{servers.BUCKET}/late") == b"late"


def test_a_server_that_does_not_come_back_is_waited_for_once(proxy):
    proxy.answer = 503
    with pytest.raises(StorageError, match=r"late: expected an answer of the server. Received for [234] s: HTTP 503\."):
        objects.write_bytes(f"s3://{servers.BUCKET}/late", b"late")
    before = proxy.seen
    with pytest.raises(StorageError, match="Received for 0 s"):
        objects.write_bytes(f"s3://{servers.BUCKET}/late", b"late")
    assert proxy.seen == before + 1
    proxy.answer = None
    objects.write_bytes(f"s3://{servers.BUCKET}/late", b"late")


@pytest.mark.parametrize("path", ["hdfs://host/file", "s3://", "gs:///key"])
def test_a_place_that_is_none(path):
    with pytest.raises(InputError, match="expected a local path, s3://BUCKET/KEY or gs://BUCKET/KEY"):
        objects.stat(path)


def shard(name: str, size: int) -> tuple[str, str]:
    """The URL and the SHA-256 of a new object."""
    url, data = f"s3://{servers.BUCKET}/{name}", os.urandom(size)
    objects.write_bytes(url, data)
    return url, hashlib.sha256(data).hexdigest()


def test_the_cache_holds_what_fits_and_the_latest(proxy, tmp_path):
    cache = Cache(str(tmp_path), limit=250, pinned=2)
    shards = [shard(f"shard-{number}", 100) for number in range(4)]
    paths = [cache.fetch(*found).result() for found in shards]
    assert [os.path.exists(path) for path in paths] == [False, False, True, True]
    seen = proxy.seen
    assert cache.fetch(*shards[3]).result() == paths[3] and proxy.seen == seen
    assert cache.fetch(*shards[0]).result() == paths[0] and proxy.seen > seen
    assert sorted(os.listdir(tmp_path / "slot-0")) == sorted((shards[0][1], shards[3][1]))


def test_processes_have_slots_and_inherit_whole_files(proxy, tmp_path):
    first = Cache(str(tmp_path), limit=1000)
    url, digest = shard("inherited", 10)
    path = first.fetch(url, digest).result()
    (tmp_path / "slot-0" / "half.tmp").write_bytes(b"half")
    assert Cache(str(tmp_path), limit=1000).fetch(url, digest).result() == str(tmp_path / "slot-1" / digest)
    os.close(first._lock)  # as the kernel does when a process ends
    objects.delete([url])
    assert Cache(str(tmp_path), limit=1000).fetch(url, digest).result() == path
    assert not (tmp_path / "slot-0" / "half.tmp").exists()


def test_other_content_than_described_is_refused(proxy, tmp_path):
    url, _ = shard("changed", 10)
    cache = Cache(str(tmp_path), limit=1000)
    with pytest.raises(InputError, match=f"{url}: expected the content .* sha256 000000000000. Received .*, 2 times"):
        cache.fetch(url, "0" * 64).result()
    assert os.listdir(tmp_path / "slot-0") == []


def test_a_folder_is_copied_again_only_if_it_changed(proxy, tmp_path):
    url = f"s3://{servers.BUCKET}/model"
    objects.write_bytes(f"{url}/config.json", b"{}")
    objects.write_bytes(f"{url}/1_Pooling/config.json", b"[]")
    cache = Cache(str(tmp_path), limit=1000)
    first = cache.folder(url)
    assert os.path.basename(first) == "model" and cache.folder(url + "/") != ""
    with open(f"{first}/1_Pooling/config.json", "rb") as file:
        assert file.read() == b"[]"
    assert cache.folder(url) == first
    objects.write_bytes(f"{url}/config.json", b"{ }")
    assert cache.folder(url) != first
