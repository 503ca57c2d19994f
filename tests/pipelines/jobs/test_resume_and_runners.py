"""The job as its users run it: killed and started again, on other runners."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.jobs.vocabulary_learning import build_vocab

ROOT = pathlib.Path(__file__).parents[3]


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file's bytes, but for dataset.json and TFDS' metadata, which say when they were made."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: b"" if name.endswith(".json") else data for name, data in found.items()}


@contextlib.contextmanager
def running_job(corpus, vocab, output, *arguments):
    """The command in a process group of its own, killed at the end if it is still there."""
    command = [sys.executable, "-m", "pipelines.create_pretraining_data", "--input", str(corpus / "[0-9].txt")]
    command += ["--vocab", str(vocab), "--output_dir", str(output), "--num_shards=12", "--validation_fraction=0.05"]
    command += ["--max_seq_length=64", "--max_predictions_per_seq=10", "--dupe_factor=4", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def kill_and_restart(corpus, vocab, tmp_path, kills: int, seed: int) -> int:
    """Kills one job several times at random moments; returns how many shards were taken over in all."""
    with running_job(corpus, vocab, tmp_path / "whole") as process:
        started = time.monotonic()
        output, _ = process.communicate(timeout=300)
        seconds = time.monotonic() - started
    assert process.returncode == 0, output
    rng = random.Random(seed)
    for _ in range(kills):
        with running_job(corpus, vocab, tmp_path / "killed") as process:
            time.sleep(rng.uniform(0.2, 1.0) * seconds)
    with running_job(corpus, vocab, tmp_path / "killed") as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    return int(output.partition("Resuming: ")[2].partition(" ")[0] or 0)


@pytest.mark.parametrize(
    "kills", [1, pytest.param(3, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.sweep)]
)
def test_a_killed_job_ends_in_the_same_files(corpus, corpus_vocab, tmp_path, kills):
    kill_and_restart(corpus, corpus_vocab, tmp_path, kills, seed=5)


def test_finished_shards_are_kept_and_broken_ones_made_again(corpus, corpus_vocab, tmp_path):
    with running_job(corpus, corpus_vocab, tmp_path / "whole") as process:
        assert process.wait(timeout=300) == 0
    with running_job(corpus, corpus_vocab, tmp_path / "killed") as process:
        progress = tmp_path / "killed/progress"
        while len(list(progress.glob("*.json")) if progress.exists() else []) < 4:
            assert process.poll() is None
            time.sleep(0.002)
    finished = sorted(path.name.removesuffix(".json") for path in progress.glob("*.json"))
    assert 4 <= len(finished) < 13
    times = {name: (tmp_path / "killed" / name).stat().st_mtime_ns for name in finished}
    data = bytearray((tmp_path / "killed" / finished[0]).read_bytes())
    data[100] ^= 1
    (tmp_path / "killed" / finished[0]).write_bytes(data)
    with running_job(corpus, corpus_vocab, tmp_path / "killed") as process:
        output, _ = process.communicate(timeout=300)
    assert f"Resuming: {len(finished) - 1} of 13 shards are finished and intact." in output
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert all((tmp_path / "killed" / name).stat().st_mtime_ns == times[name] for name in finished[1:])


@pytest.fixture(scope="session")
def job_service():
    """Beam options of a job service on this machine, whose worker is the launcher's process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                break
            time.sleep(0.1)
        yield ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
    finally:
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()


def test_beams_job_service_makes_the_same_bytes(shards, corpus, corpus_vocab, tmp_path, job_service):
    create_pretraining_data(
        input_patterns=[str(corpus / "[0-9].txt")],
        vocab=str(corpus_vocab),
        output_dir=str(tmp_path / "out"),
        config=JobConfig(
            instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10),
            num_shards=3,
            validation_fraction=0.05,
        ),
        beam_arguments=job_service,
    )
    assert files_of(tmp_path / "out") == files_of(shards)


def test_beams_job_service_learns_the_same_vocabulary(corpus, corpus_vocab, tmp_path, job_service):
    build_vocab(
        input_patterns=[str(corpus / "[0-9].txt")],
        output=str(tmp_path / "v.txt"),
        vocab_size=1000,
        beam_arguments=job_service,
    )
    assert (tmp_path / "v.txt").read_bytes() == corpus_vocab.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt"]
