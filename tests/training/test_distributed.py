"""One, mirrored and several processes compute the same steps; processes that are killed continue with the same bits."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).parents[2]
_CONFIG = """
from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset

def get_config():
    return PretrainConfig(
        model=preset(
            "tiny", vocab_size=1000, hidden_size=32, intermediate_size=64, max_position_embeddings=64,
            hidden_dropout_prob={dropout}, attention_probs_dropout_prob={dropout},
        ),
        data=PretrainDataConfig(train={shards!r}, max_seq_length=64, max_predictions_per_seq=10, readers=2),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=5),
        train=TrainConfig(
            steps={steps}, global_batch_size=16, steps_per_loop=5, log_every={log_every}, evaluate_every=1000,
            checkpoint_every=10, evaluate_examples=40, xla={xla!r},
        ),
    )
"""


class Job:
    """A pretraining run as a user starts it, in one or more processes."""

    def __init__(
        self,
        folder: pathlib.Path,
        shards,
        *,
        workers: int = 1,
        steps: int = 20,
        dropout: float = 0.0,
        log_every: int = 1,
    ):
        self.workdir, self._config, self._workers = folder / "run", folder / "config.py", workers
        folder.mkdir(parents=True, exist_ok=True)
        # Those that are started again and again do not compile anew each time.
        xla = "off" if dropout else "auto"
        self._config.write_text(
            _CONFIG.format(shards=str(shards), steps=steps, dropout=dropout, xla=xla, log_every=log_every)
        )
        self._starts = 0

    def start(self, *overrides: str) -> list[subprocess.Popen]:
        ports = free_ports(self._workers)
        self._starts += 1
        started = []
        for index in range(self._workers):
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            if self._workers > 1:
                cluster = {"worker": [f"localhost:{port}" for port in ports]}
                environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            command = [sys.executable, "-m", "bert_tf.pretrain", "--config", self._config, "--workdir", self.workdir]
            command += [argument for override in overrides for argument in ("--set", override)]
            with open(self._log(index), "w") as log:
                started.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
                )
        return started

    def _log(self, index: int) -> pathlib.Path:
        return self._config.parent / f"log-{self._starts}-{index}"

    def said(self, index: int = 0) -> str:
        return self._log(index).read_text()

    def finish(self, *overrides: str) -> "Job":
        for index, process in enumerate(self.start(*overrides)):
            assert process.wait(300) == 0, self.said(index)[-3000:]
        return self

    def stop_at(self, step: int, number: int, victim: int = 0) -> list[int]:
        """Starts, sends a signal to one process once a step is logged, and returns all exit codes."""
        processes = self.start()
        while not self.lines or self.lines[-1]["step"] < step:
            assert all(process.poll() is None for process in processes), self.said()[-3000:]
            time.sleep(0.02)
        processes[victim].send_signal(number)
        return [process.wait(120) for process in processes]

    @property
    def lines(self) -> list[dict]:
        path = self.workdir / "metrics.jsonl"
        complete = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in complete]

    @property
    def losses(self) -> list[float]:
        train = [line for line in self.lines if line["split"] == "train"]
        assert [line["step"] for line in train] == list(range(1, len(train) + 1))
        return [line["loss"] for line in train]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return load_file(self.workdir / "model" / "model.safetensors")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("localhost", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory) -> Job:
    return Job(tmp_path_factory.mktemp("alone"), shards).finish("train.strategy=single")


@pytest.mark.parametrize(
    ("workers", "overrides"),
    [
        (1, ["train.strategy=mirrored"]),
        (1, ["train.strategy=single", "train.microbatches=4"]),
        (2, ["train.strategy=auto"]),
    ],
    ids=["mirrored", "microbatches", "two workers"],
)
def test_twenty_steps_are_the_same(alone, shards, tmp_path, workers, overrides):
    job = Job(tmp_path, shards, workers=workers).finish(*overrides)
    assert len(alone.losses) == len(job.losses) == 20
    np.testing.assert_allclose(job.losses, alone.losses, rtol=1e-5)
    assert job.losses[-1] < job.losses[0]
    ours, theirs = job.weights, alone.weights
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)
    assert job.lines[-1]["loss"] == pytest.approx(alone.lines[-1]["loss"], rel=1e-4)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory) -> Job:
    """Never stopped."""
    return Job(tmp_path_factory.mktemp("whole"), shards, steps=60, dropout=0.1).finish()


@pytest.fixture(scope="module")
def whole_of_two(shards, tmp_path_factory) -> Job:
    """Two workers, never stopped."""
    return Job(tmp_path_factory.mktemp("whole_of_two"), shards, workers=2, steps=60, dropout=0.1).finish()


def test_a_run_goes_on_from_its_mirror_when_the_disk_is_lost(whole, shards, tmp_path):
    job, mirror = Job(tmp_path / "lost", shards, steps=60, dropout=0.1), tmp_path / "mirror"
    override = f"train.mirror={mirror}"
    process = job.start(override)[0]
    while not list(mirror.glob("checkpoints/step-*.safetensors")):
        assert process.poll() is None, job.said()[-3000:]
        time.sleep(0.02)
    process.kill()
    process.wait()
    shutil.rmtree(job.workdir)
    job.finish(override)
    assert "filled with" in job.said()
    assert_same_bits(job, whole)
    there = {path.name: path.read_bytes() for path in mirror.glob("checkpoints/*")}
    assert there == {path.name: path.read_bytes() for path in (job.workdir / "checkpoints").iterdir()}
    for name in ("metrics.jsonl", "config.json", "model/model.safetensors"):
        assert (mirror / name).read_bytes() == (job.workdir / name).read_bytes()


def assert_same_bits(job: Job, whole: Job):
    assert job.losses == whole.losses
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(job.weights[name], value, err_msg=name)


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.sweep)])
def test_killed_continues_with_the_same_bits(whole, shards, tmp_path, kills):
    job = Job(tmp_path / "killed", shards, steps=60, dropout=0.1)
    for step in sorted(random.Random(time.time_ns()).sample(range(3, 58), kills)):
        assert job.stop_at(step, signal.SIGKILL) == [-signal.SIGKILL]
    job.finish()
    assert "resuming at step" in job.said()
    assert_same_bits(job, whole)


def test_either_of_two_workers_killed(whole_of_two, shards, tmp_path):
    job = Job(tmp_path / "killed", shards, workers=2, steps=60, dropout=0.1)
    for step, victim in ((17, 1), (34, 0)):
        codes = job.stop_at(step, signal.SIGKILL, victim)
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == 75
        assert "another worker is gone" in job.said(1 - victim)
    job.finish()
    assert_same_bits(job, whole_of_two)


def test_sigterm_before_the_first_step_is_no_error(shards, tmp_path):
    (process,) = Job(tmp_path, shards).start()
    # Python itself has started, TensorFlow has not.
    while "tensorflow" not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75


def test_sigterm_saves_where_it_is(whole_of_two, shards, tmp_path):
    job = Job(tmp_path / "stopped", shards, workers=2, steps=60, dropout=0.1, log_every=4)
    # To the worker that is not the one that writes.
    assert job.stop_at(12, signal.SIGTERM, victim=1) == [75, 75]
    said = job.said(1)
    assert "stopped: SIGTERM: step" in said
    step = int(said.split("SIGTERM: step ")[1].split()[0])
    assert (job.workdir / "checkpoints" / f"step-{step:010d}.safetensors").exists()
    job.finish()
    assert f"resuming at step {step} of 60" in job.said()
    train = [line for line in job.lines if line["split"] == "train"]
    assert [line["step"] for line in train] == list(range(4, 61, 4))
    for name, value in whole_of_two.weights.items():
        np.testing.assert_array_equal(job.weights[name], value, err_msg=name)
