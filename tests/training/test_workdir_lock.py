"""Two runs do not share a workdir."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from bert_tf.core.errors import InputError
from bert_tf.training.workdir import lock as workdir_lock

ROOT = pathlib.Path(__file__).parents[2]


def test_a_second_run_is_refused_while_the_first_is_at_work(shards, tmp_path):
    settings = {
        "data.train": shards,
        "data.max_seq_length": 64,
        "data.max_predictions_per_seq": 10,
        "model.vocab_size": 1000,
        "model.hidden_size": 32,
        "model.intermediate_size": 64,
        "train.steps": 1_000_000,
        "train.log_every": 5,
        "train.steps_per_loop": 5,
        "train.evaluate_examples": 8,
    }
    overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "bert_tf.pretrain", "--config", "configs/pretrain_tiny.py"]
    command += ["--workdir", str(tmp_path), *overrides]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("metrics.jsonl")) and time.monotonic() < end:
            assert first.poll() is None
            time.sleep(0.2)
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(f"error: --workdir {tmp_path}: expected a folder in which no other run is at")
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with workdir_lock.held(str(tmp_path)):  # a killed process holds nothing
        pass


def test_of_several_workers_the_chief_alone_holds_it(tmp_path):
    with workdir_lock.held(str(tmp_path)):
        with workdir_lock.held(str(tmp_path), is_chief=False):
            pass
        with (
            pytest.raises(InputError, match="Received one that a process is writing to"),
            workdir_lock.held(str(tmp_path)),
        ):
            pass
    with workdir_lock.held(str(tmp_path)):
        pass
