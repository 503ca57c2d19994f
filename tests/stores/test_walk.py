"""From text to a SavedModel with every path on a store, and every job killed once: the bytes of a local walk.

Real servers of S3 (moto) and Google Cloud Storage (gcp-storage-emulator), over HTTP; make store-test runs it.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import load

from bert_tf.core.stores import objects
from tests.support.stores import servers

pytestmark = pytest.mark.store
ROOT = pathlib.Path(__file__).parent.parent.parent
_SIZES = (
    "model.hidden_size=16",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "model.intermediate_size=32",
    "train.steps=60",
    "train.global_batch_size=8",
    "train.steps_per_loop=2",
    "train.checkpoint_every=6",
    "train.log_every=6",
    "train.evaluate_every=60",
    "train.evaluate_examples=8",
    "optimizer.warmup_steps=5",
)
_TUNING = (
    "epochs=none",
    "train.steps=6",
    "train.global_batch_size=8",
    "train.steps_per_loop=2",
    "train.evaluate_every=6",
    "train.checkpoint_every=6",
    "data.max_seq_length=32",
)


class Walk:
    """The commands of the product below one folder, local or on a store.

    Attributes:
      seconds: {name of a step: what it took, killed attempts included}.
    """

    def __init__(self, base: str, corpus: str, workdir: pathlib.Path, environment: dict[str, str], cache: pathlib.Path):
        self.base, self._corpus, self._workdir = base, corpus, workdir
        self._environment = {**os.environ, **environment, "BERT_TF_CACHE": str(cache), "BERT_TF_CACHE_GB": "0.0001"}
        self.seconds: dict[str, float] = {}

    def command(self, module: str, *arguments: str, kill: Callable[[], bool] | None = None) -> str:
        """Runs a command and returns its output; `kill`: by SIGKILL, once this is true, with all its processes."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while kill is not None and process.poll() is None:
            if kill():
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        output = process.communicate()[0]
        self.seconds[module] = self.seconds.get(module, 0.0) + time.monotonic() - began
        assert process.returncode == (0 if kill is None else -signal.SIGKILL), output[-3000:]
        return output

    def shards(self, kill: Callable[[], bool] | None = None) -> str:
        return self.command(
            "pipelines.create_pretraining_data",
            *("--input", f"{self._corpus}/[0-9].txt", "--vocab", f"{self.base}/vocab.txt"),
            *("--output_dir", f"{self.base}/shards", "--max_seq_length=64", "--num_shards=3", "--seed=7"),
            "--direct_num_workers=2",
            kill=kill,
        )

    def pretrain(self, workdir: pathlib.Path, kill: Callable[[], bool] | None = None) -> str:
        changes = (*_SIZES, f"data.train={self.base}/shards", f"train.mirror={self.base}/run")
        given = [part for change in changes for part in ("--set", change)]
        config = ("--config", "configs/pretrain_tiny.py", "--workdir", str(workdir))
        return self.command("bert_tf.pretrain", *config, *given, kill=kill)

    def whole(self, is_killed: bool) -> None:
        """Every step; is_killed: shards and pretraining are killed on their way."""
        self.command(
            "pipelines.build_vocab",
            *("--input", f"{self._corpus}/[0-9].txt", "--output", f"{self.base}/vocab.txt", "--vocab_size=1000"),
        )
        if is_killed:
            self.shards(kill=lambda: any("progress/" in name for name in objects.below(f"{self.base}/shards")))
        assert ("Resuming: " in self.shards()) == is_killed
        first = self._workdir / "first"
        if is_killed:
            self.pretrain(first, kill=lambda: _has_checkpoint(f"{self.base}/run"))
        # On another machine: only the mirror has the run.
        self.pretrain(self._workdir / "second")
        changes = (*_TUNING, f"init_from={self.base}/run", f"train.mirror={self.base}/labels")
        changes += tuple(f"data.{split}={self._corpus}/{split}.tsv" for split in ("train", "validation"))
        given = [part for change in changes for part in ("--set", change)]
        self.command(
            "bert_tf.finetune",
            *("--config", "configs/offline_classification.py", "--workdir", str(self._workdir / "labels"), *given),
        )
        self.command("bert_tf.export", "--model", f"{self.base}/labels/model", "--output", f"{self.base}/served/labels")
        self.answers = self.command(
            "bert_tf.predict", "--model", f"{self.base}/labels/model", "--input", f"{self._corpus}/texts.txt"
        )


def _has_checkpoint(folder: str) -> bool:
    return any(name.startswith("checkpoints/step-") for name in objects.below(folder))


@pytest.fixture(scope="module")
def sources(corpus, tmp_path_factory) -> pathlib.Path:
    """The corpus, labelled texts and texts to predict."""
    folder = tmp_path_factory.mktemp("sources")
    for path in corpus.glob("[0-9].txt"):
        (folder / path.name).write_bytes(path.read_bytes())
    rows = "".join(f"{word} number {i}\t{word}\n" for i in range(16) for word in ("list", "class"))
    for split in ("train", "validation"):
        (folder / f"{split}.tsv").write_text(f"text\tlabel\n{rows}")
    (folder / "texts.txt").write_text("a list of numbers\na class of objects\n")
    return folder


@pytest.fixture(scope="module")
def local(sources, tmp_path_factory) -> Walk:
    folder = tmp_path_factory.mktemp("local")
    walk = Walk(f"{folder}/out", str(sources), folder / "work", {}, folder / "cache")
    walk.whole(is_killed=False)
    return walk


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_killed_walk_on_a_store_gives_the_bytes_of_a_local_one(scheme, local, sources, tmp_path, monkeypatch):
    with servers.serving(scheme) as port:
        environment = servers.environment(scheme, port)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        servers.forget_clients()
        root = f"{scheme}://{servers.BUCKET}"
        for path in sources.iterdir():
            objects.copy(str(path), f"{root}/corpus/{path.name}")
        walk = Walk(f"{root}/out", f"{root}/corpus", tmp_path, environment, tmp_path / "cache")
        walk.whole(is_killed=True)
        print(json.dumps({"local": local.seconds, scheme: walk.seconds}, indent=2))
        here, there = objects.below(local.base), objects.below(walk.base)
        # Events carry the host and the time in their names.
        steady = [{name for name in names if "events" not in name} for names in (here, there)]
        assert steady[0] == steady[1]
        differing = {
            name for name in steady[0] if objects.read_bytes(here[name].key) != objects.read_bytes(there[name].key)
        }
        assert not {name for name in differing if not _may_differ(name)}
        for name in (name for name in differing if "checkpoints/" in name):
            # safetensors writes the metadata in another order each time.
            first, second = (load(objects.read_bytes(names[name].key)) for names in (here, there))
            assert first.keys() == second.keys()
            assert all(np.array_equal(first[key], second[key]) for key in first), name
        assert walk.answers.splitlines()[:2] == local.answers.splitlines()[:2]
        cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert cached
        assert not [path for path in cached if path.name.endswith(".tmp")]


def _may_differ(name: str) -> bool:
    """Files that hold paths, times or speeds; checkpoints; and SavedModels, which TensorFlow orders anew each time."""
    told = ("dataset.json", "config.json", "metrics.jsonl")
    return name.endswith(told) or "checkpoints/" in name or name.startswith("served/")
