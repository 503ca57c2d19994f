"""What Beam waits for or ignores in silence behind a job server is said in one sentence."""

import os
import signal
import socket
import sys
import threading
import time

import apache_beam as beam
import pytest

from bert_tf.core.errors import InputError, StorageError
from pipelines.running.job_servers import reason_of_engine
from pipelines.running.options import local_options
from pipelines.running.pipeline import running
from tests.support.engines import servers


@pytest.fixture
def listening():
    """The address of something that takes connections."""
    with socket.create_server(("localhost", 0)) as server:
        yield f"localhost:{server.getsockname()[1]}"


def test_a_job_server_that_is_not_there_is_named_at_once():
    port = servers.free_port()
    started = time.monotonic()
    with pytest.raises(InputError, match=f"--job_endpoint localhost:{port}: expected a job server at HOST:PORT"):
        local_options(["--runner=PortableRunner", f"--job_endpoint=localhost:{port}"])
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("endpoint", ["localhost", "localhost:http", ""])
def test_an_endpoint_without_a_port_is_refused_or_left_to_beam(endpoint):
    arguments = ["--runner=PortableRunner", f"--job_endpoint={endpoint}"]
    if endpoint:
        with pytest.raises(InputError, match="expected a job server at HOST:PORT"):
            local_options(arguments)
    else:
        local_options(arguments)


def test_local_workers_are_refused_where_a_job_server_runs_the_job(listening):
    with pytest.raises(InputError, match="--direct_num_workers: expected a local runner"):
        local_options(["--runner=PortableRunner", f"--job_endpoint={listening}", "--direct_num_workers=4"])


@pytest.mark.parametrize(
    ("environment", "option", "warned"),
    [
        ("EXTERNAL", "--setup_file=./setup.py", "--setup_file"),
        ("EXTERNAL", "--number_of_worker_harness_threads=4", "--number_of_worker_harness_threads"),
        ("EXTERNAL", "--parallelism=2", None),
        ("DOCKER", "--setup_file=./setup.py", None),
        ("LOOPBACK", "--setup_file=./setup.py", None),
    ],
)
def test_options_that_a_pool_may_not_pass_on_are_named(listening, capsys, environment, option, warned):
    where = ["--runner=PortableRunner", f"--job_endpoint={listening}", f"--environment_type={environment}"]
    local_options([*where, "--environment_config=localhost:1", option])
    printed = capsys.readouterr().err
    assert printed.startswith(f"warning: {warned}: workers of a pool") if warned else not printed


def test_the_reason_of_an_engine_is_its_innermost_cause():
    flink = (
        "Pipeline a-1_x failed in state FAILED: org.x.StatusRuntimeException: org.x.StatusRuntimeException: CANCELLED"
    )
    spark = (
        "Pipeline b failed in state FAILED: org.apache.spark.SparkException: Job aborted: Lost task 1.0 in\n"
        "\tat java.base/java.lang.Thread.run(Thread.java:840)\n"
        "Caused by: a.b.Wrapper: c.d.Inner: outer\n\tat X\n"
        "Caused by: org.x.StatusRuntimeException: CANCELLED: client cancelled\n\t... 3 more\n\nDriver stacktrace:\n"
    )
    assert reason_of_engine(RuntimeError(flink)) == "FAILED, CANCELLED"
    assert reason_of_engine(RuntimeError(spark)) == "FAILED, CANCELLED: client cancelled"
    assert reason_of_engine(RuntimeError("Pipeline c failed in state CANCELLED: ")) == "CANCELLED, RuntimeError"


def test_a_job_server_killed_in_the_middle_ends_in_one_sentence(tmp_path):
    port = servers.free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    with servers.process([sys.executable, "-m", module, f"--port={port}"], tmp_path / "log", port) as service:
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
        mark = tmp_path / "mark"

        def wait(_):
            mark.touch()
            time.sleep(3)

        def kill():
            while not mark.exists():
                time.sleep(0.05)
            os.killpg(service.pid, signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises(StorageError) as raised, running(local_options(options)) as root:
            _ = root | beam.Create([0]) | beam.Reshuffle() | beam.Map(wait)
    assert str(raised.value).startswith(f"--job_endpoint localhost:{port}: expected a job that its engine finishes.")
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("Give the same command to go on.")


def test_an_error_in_a_step_keeps_its_traceback(tmp_path):
    port = servers.free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    with servers.process([sys.executable, "-m", module, f"--port={port}"], tmp_path / "log", port):
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
        with pytest.raises(RuntimeError, match="ZeroDivisionError"), running(local_options(options)) as root:
            _ = root | beam.Create([0]) | beam.Reshuffle() | beam.Map(lambda x: 1 / x)
