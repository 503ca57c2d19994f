"""What a store can do to a command: it recovers, or ends in one sentence within a minute; make store-test runs it."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from bert_tf.core.stores import objects
from tests.support.stores import servers

pytestmark = pytest.mark.store
ROOT = pathlib.Path(__file__).parent.parent.parent
_SECONDS = 60
_SCHEMES = pytest.mark.parametrize("place", ["s3", "gs"], indirect=True)


class Place:
    """A bucket with a corpus, behind a proxy; `environment` leads to the proxy."""

    def __init__(self, scheme: str, port: int, corpus: pathlib.Path):
        self.root = f"{scheme}://{servers.BUCKET}"
        self.scheme, self.proxy = scheme, servers.Proxy(port)
        self.environment = servers.environment(scheme, self.proxy.port)
        self.corpus = corpus

    def vocabulary(
        self, output: str, limit: float = _SECONDS, source: str = "", *options: str, **changes: str | None
    ) -> tuple[int, str]:
        """Exit code and what build_vocab wrote to standard error; fails if it takes longer than the limit."""
        environment = {**os.environ, **self.environment, **changes}
        began = time.monotonic()
        process = subprocess.run(
            [
                *(sys.executable, "-m", "pipelines.build_vocab", "--input", source or f"{self.root}/corpus/0.txt"),
                *("--output", output, "--vocab_size=500", *options),
            ],
            cwd=ROOT,
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(f"{time.monotonic() - began:.0f} s: {process.stderr.strip()}")
        assert time.monotonic() - began < limit
        return process.returncode, process.stderr


@pytest.fixture
def place(request, corpus, monkeypatch):
    with servers.serving(request.param) as port:
        for name, value in servers.environment(request.param, port).items():
            monkeypatch.setenv(name, value)
        servers.forget_clients()
        found = Place(request.param, port, corpus)
        objects.copy(str(corpus / "0.txt"), f"{found.root}/corpus/0.txt")
        yield found
        found.proxy.close()


def assert_one_sentence(result: tuple[int, str], *parts: str) -> None:
    code, error = result
    assert code == 1, error
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert all(part in error for part in parts), error


@_SCHEMES
def test_a_wrong_bucket_and_a_root(place):
    wrong = f"{place.scheme}://nowhere/vocab.txt"
    assert_one_sentence(place.vocabulary(wrong), wrong, "expected a bucket that exists. Received")
    assert_one_sentence(place.vocabulary(place.root), place.root, "Received the root of a bucket")
    source = f"{place.scheme}://nowhere/*.txt"
    assert_one_sentence(place.vocabulary(f"{place.root}/v", source=source), "--input", "expected a bucket that exists")


@_SCHEMES
def test_no_credentials_and_no_server(place):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "STORAGE_EMULATOR_HOST": None}
    none |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "CLOUDSDK_CONFIG": os.devnull}
    target = f"{place.root}/vocab.txt"
    assert_one_sentence(place.vocabulary(target, **none), "expected credentials. Received: none")
    nobody = servers.environment(place.scheme, servers.free_port())
    assert_one_sentence(place.vocabulary(target, **nobody), "expected a server that can be reached. Received")


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_options_of_beam_reach_two_worker_processes(place):
    """Without them in the environment, nothing was written and nothing said."""
    none = dict.fromkeys(place.environment)
    given = ("--s3_access_key_id=test", "--s3_secret_access_key=test", "--s3_region_name=us-east-1")
    endpoint = f"--s3_endpoint_url=http://127.0.0.1:{place.proxy.port}"
    target = f"{place.root}/vocab.txt"
    code, error = place.vocabulary(target, 300, "", *given, endpoint, "--direct_num_workers=2", **none)
    assert code == 0, error
    assert set(objects.below(place.root)) == {"corpus/0.txt", "vocab.txt"}


@_SCHEMES
def test_no_permission(place):
    place.proxy.answer = 403
    result = place.vocabulary(f"{place.root}/vocab.txt")
    assert_one_sentence(result, "expected permission to read it. Received: HTTP 403")


def test_no_permission_by_the_rules_of_a_server(monkeypatch, corpus):
    """moto checks keys and policies itself after its first calls; a key that it does not know may nothing."""
    with servers.serving("s3", more={"INITIAL_NO_AUTH_ACTION_COUNT": "1"}) as port:
        place = Place("s3", port, corpus)
        result = place.vocabulary(f"{place.root}/vocab.txt", source=str(corpus / "0.txt"))
        assert_one_sentence(result, "s3://bucket/vocab.txt: expected permission to write it. Received: HTTP 403")


@_SCHEMES
def test_a_server_that_is_overloaded_for_a_while(place):
    """Eight seconds of 503, from the twelfth request on."""
    stop = threading.Event()

    def overload():
        while place.proxy.seen < 12 and not stop.is_set():
            time.sleep(0.02)
        place.proxy.answer = 503
        stop.wait(8)
        place.proxy.answer = None

    watching = threading.Thread(target=overload)
    watching.start()
    code, error = place.vocabulary(f"{place.root}/vocab.txt", limit=300)
    stop.set()
    watching.join()
    assert code == 0, error
    assert "vocab.txt" in objects.below(place.root, shallow=True)
    assert set(objects.below(place.root)) == {"corpus/0.txt", "vocab.txt"}


@_SCHEMES
def test_a_server_that_goes_in_the_middle(place):
    lost: list[float] = []

    def leave():
        while place.proxy.seen < 12:
            time.sleep(0.02)
        place.proxy.answer = 0
        lost.append(time.monotonic())

    watching = threading.Thread(target=leave, daemon=True)
    watching.start()
    result = place.vocabulary(f"{place.root}/vocab.txt", limit=300)
    assert time.monotonic() - lost[0] < _SECONDS
    assert_one_sentence(result, f"{place.root}/", "Received for 2")
    place.proxy.answer = None
    code, error = place.vocabulary(f"{place.root}/vocab.txt", limit=300)
    assert code == 0, error
    assert set(objects.below(place.root)) == {"corpus/0.txt", "vocab.txt"}


@_SCHEMES
def test_a_shard_whose_content_was_changed(place, shards, tmp_path):
    for path in shards.iterdir():
        objects.copy(str(path), f"{place.root}/shards/{path.name}")
    for name in objects.below(f"{place.root}/shards"):
        if name.startswith("pretrain-train"):
            data = objects.read_bytes(f"{place.root}/shards/{name}")
            objects.write_bytes(f"{place.root}/shards/{name}", data[:-1] + bytes([data[-1] ^ 1]))
    process = subprocess.run(
        [
            *(sys.executable, "-m", "bert_tf.pretrain", "--config", "configs/pretrain_tiny.py"),
            *("--workdir", str(tmp_path / "run"), "--set", f"data.train={place.root}/shards"),
            *("--set", "train.steps=4", "--set", "model.hidden_size=16", "--set", "model.num_attention_heads=2"),
            *("--set", "train.global_batch_size=8", "--set", "model.intermediate_size=32"),
            *(
                "--set",
                "train.evaluate_every=4",
                "--set",
                "train.evaluate_examples=8",
                "--set",
                "optimizer.warmup_steps=1",
            ),
        ],
        cwd=ROOT,
        env={**os.environ, **place.environment, "BERT_TF_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_sentence((process.returncode, process.stderr), f"{place.root}/shards/pretrain-train", "2 times")
    assert not list((tmp_path / "run").rglob("step-*"))
