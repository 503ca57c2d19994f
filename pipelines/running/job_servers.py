"""Runners behind a job server, such as Flink and Spark: checks before a job, and one sentence where it fails."""

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Iterator

import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)

from bert_tf.core.errors import InputError, StorageError, reason_of

RUNNERS = ("portablerunner", "flinkrunner", "sparkrunner", "prismrunner")
_SECONDS = 10  # for a connection; Beam itself waits in silence for --job_server_timeout, 300 s
_STATE = re.compile(r"^Pipeline \S+ failed in state (\w+): ")
_JAVA_CLASS = re.compile(r"^(?:[\w.$]+\.[\w$]+: )+")
# Files that Beam sends along. A worker installs or reads them as it starts, unless a pool starts it without boot.
_STAGED = ("setup_file", "requirements_file", "extra_packages", "save_main_session")
# What a worker takes from its options. A pool without boot (Beam 2.77) gives a worker none.
_OF_WORKERS = ("number_of_worker_harness_threads", "state_cache_size", "data_buffer_time_limit_ms")


def has_job_server(runner: str) -> bool:
    """Whether a runner of Beam sends its jobs to a job server."""
    return runner.lower().rpartition(".")[2] in RUNNERS


def check_job_server(options: PipelineOptions) -> None:
    """Checks what Beam would wait for or ignore in silence.

    Options that a worker pool may not give to its workers are named in a warning.

    Raises:
      InputError: nothing listens at --job_endpoint, or local workers are asked for.
    """
    if not has_job_server(options.view_as(StandardOptions).runner):
        return
    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers != 1:
        raise InputError(
            "--direct_num_workers: expected a local runner. Received: a runner with a job server, which has "
            "--parallelism and --sdk_worker_parallelism instead."
        )
    portable = options.view_as(PortableOptions)
    if portable.environment_type == "EXTERNAL":
        given = options.get_all_options(drop_default=True, retain_unknown_options=True)
        staged = options.view_as(SetupOptions).get_all_options(drop_default=True)
        unreached = [name for name in _STAGED if staged.get(name)] + [name for name in _OF_WORKERS if name in given]
        if unreached:
            print(
                f"warning: {', '.join(f'--{name}' for name in unreached)}: workers of a pool get this only if the pool "
                "was started with --container_executable=/opt/apache/beam/boot.",
                file=sys.stderr,
                flush=True,
            )
    if portable.job_endpoint and portable.job_endpoint != "embed":
        _check_endpoint(portable.job_endpoint)


def _check_endpoint(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--job_endpoint {endpoint}: expected a job server at HOST:PORT. Received: {reason_of(error)}."
        ) from None


@contextlib.contextmanager
def raised_by_job_server(options: PipelineOptions) -> Iterator[None]:
    """Around a pipeline that runs: a job that its engine gave up ends in one sentence.

    An error in a step's own code stays what it is, with its traceback.

    Raises:
      StorageError: the engine or the job server failed. Finished shards are there for the next attempt.
    """
    if not has_job_server(options.view_as(StandardOptions).runner):
        yield
        return
    with _quiet_threads():
        try:
            yield
        except (RuntimeError, grpc.RpcError) as error:
            if "Traceback (most recent call last)" in str(error):
                raise
            raise StorageError(
                f"--job_endpoint {options.view_as(PortableOptions).job_endpoint}: expected a job that its engine "
                f"finishes. Received: {reason_of_engine(error)}. Give the same command to go on."
            ) from None


def reason_of_engine(error: Exception) -> str:
    """What an engine says of a failed job: the innermost cause, without the names of Java's classes.

    >>> reason_of_engine(RuntimeError("Pipeline a failed in state FAILED: x.Y: z\\n  at A\\nCaused by: q.B: no"))
    'FAILED, no'
    """
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}, {error.details()}"
    text = str(error)
    state = _STATE.match(text)
    lines = [line.strip() for line in text[state.end() if state else 0 :].splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    said = causes[-1] if causes else next((line for line in lines if line), type(error).__name__)
    reason = (_JAVA_CLASS.sub("", said) or said).rstrip(".")
    return f"{state[1]}, {reason}" if state else reason


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Leaves out the tracebacks of workers in this process (LOOPBACK) whose engine closed their connection."""
    before = threading.excepthook

    def report(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, grpc.RpcError):
            before(arguments)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before
