"""The commands on Flink and Spark, as services run them: the same bytes, and killed processes.

make runner-test fetches the engines with Maven and runs this.
"""

import contextlib
import os
import signal
import time

import pytest
from test_resume_and_runners import files_of, running_job

from pipelines.jobs.vocabulary_learning import build_vocab
from tests.support.engines import servers

pytestmark = pytest.mark.runner
ENGINES = ("flink", "spark")


@pytest.fixture(scope="module")
def whole(corpus, corpus_vocab, tmp_path_factory):
    """What the local runner makes."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    with running_job(corpus, corpus_vocab, folder) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder


@contextlib.contextmanager
def engine_options(engine, environment, folder):
    """Beam options of an engine, and the process of its worker pool, if it has one."""
    if reason := servers.reason_to_skip(engine):
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        options = stack.enter_context(servers.job_server(engine, folder))
        if environment == "LOOPBACK":
            yield [*options, "--environment_type=LOOPBACK"], None
        else:
            pool_options, pool = stack.enter_context(servers.worker_pool(folder))
            yield [*options, *pool_options], pool


def wait_for_shards(process, folder, count):
    """Returns when a job has finished some of its thirteen shards, and is still at work."""
    while len(list((folder / "progress").glob("*.json")) if (folder / "progress").exists() else []) < count:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)


def finish(process) -> str:
    output, _ = process.communicate(timeout=500)
    print(output)  # pytest shows it where a test fails
    return output


def check_sentence(output, process):
    """A job that an engine gave up: one sentence behind the progress, and no traceback."""
    assert process.returncode == 1
    *progress, last = output.splitlines()
    assert last.startswith("error: --job_endpoint localhost:"), last
    assert last.endswith("Give the same command to go on."), last
    assert all(line.startswith(("  ", "I11", "I1", "I0", "Resuming", "W")) for line in progress), output


@pytest.mark.parametrize("environment", ["LOOPBACK", "EXTERNAL"])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_makes_the_bytes_of_the_local_runner(engine, environment, corpus, corpus_vocab, whole, tmp_path):
    with engine_options(engine, environment, tmp_path) as (options, pool):
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            output = finish(process)
        assert process.returncode == 0, output
        assert files_of(tmp_path / "out") == files_of(whole)
        assert "Traceback" not in output
        assert pool is None or "Starting worker" in (tmp_path / "pool.log").read_text()
        build_vocab(
            input_patterns=[str(corpus / "[0-9].txt")],
            output=str(tmp_path / "vocab.txt"),
            vocab_size=1000,
            beam_arguments=options,
        )
    assert (tmp_path / "vocab.txt").read_bytes() == corpus_vocab.read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_costs_its_unfinished_shards_at_most(engine, corpus, corpus_vocab, whole, tmp_path):
    with engine_options(engine, "EXTERNAL", tmp_path) as (options, pool):
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            wait_for_shards(process, tmp_path / "out", 2)
            for worker in servers.children(pool):
                os.kill(worker, signal.SIGKILL)
            output = finish(process)
        check_sentence(output, process)
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            output = finish(process)
    assert process.returncode == 0
    assert "of 13 shards are finished and intact." in output
    assert files_of(tmp_path / "out") == files_of(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_launcher_and_the_same_command(engine, corpus, corpus_vocab, whole, tmp_path):
    """The engine goes on with the first job beside the second: both write the same bytes."""
    with engine_options(engine, "EXTERNAL", tmp_path) as (options, _):
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            wait_for_shards(process, tmp_path / "out", 2)
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            output = finish(process)
        assert process.returncode == 0
    assert "of 13 shards are finished and intact." in output
    assert files_of(tmp_path / "out") == files_of(whole)


def test_a_killed_job_server_ends_in_a_sentence(corpus, corpus_vocab, whole, tmp_path):
    with contextlib.ExitStack() as stack:
        options, _ = stack.enter_context(engine_options("flink", "EXTERNAL", tmp_path))
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            wait_for_shards(process, tmp_path / "out", 2)
            stack.close()
            output = finish(process)
        check_sentence(output, process)
    with running_job(corpus, corpus_vocab, tmp_path / "out") as process:
        output = finish(process)
    assert process.returncode == 0
    assert "of 13 shards are finished and intact." in output
    assert files_of(tmp_path / "out") == files_of(whole)


def test_a_flink_cluster_loses_a_task_manager(corpus, corpus_vocab, whole, tmp_path):
    if reason := servers.reason_to_skip("flink"):
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        address, managers = stack.enter_context(servers.flink_cluster(tmp_path))
        options = stack.enter_context(servers.job_server("flink", tmp_path, address))
        options += stack.enter_context(servers.worker_pool(tmp_path))[0]
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            wait_for_shards(process, tmp_path / "out", 2)
            os.killpg(managers[0].pid, signal.SIGKILL)
            output = finish(process)
        check_sentence(output, process)
        options = [option.replace("--parallelism=2", "--parallelism=1") for option in options]
        with running_job(corpus, corpus_vocab, tmp_path / "out", *options) as process:
            output = finish(process)
    assert process.returncode == 0
    assert "of 13 shards are finished and intact." in output
    assert files_of(tmp_path / "out") == files_of(whole)
