"""Flink and Spark on this machine: job servers, a cluster of two task managers, and pools of Python workers.

Every process starts a new process group, which is killed when its context ends. `make runner-test` fetches the jars
that tests/support/engines/pom.xml names.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[3]
JARS = ROOT / ".engines"
_DRIVERS = {
    "flink": ("org.apache.beam.runners.flink.FlinkJobServerDriver", "--flink-master"),
    "spark": ("org.apache.beam.runners.spark.SparkJobServerDriver", "--spark-master-url"),
}
_LOCAL = {"flink": "[local]", "spark": "local[2]"}
# Packages of the JDK that Flink 1.19 and Spark 3.5 reach into; Spark's own start script opens them too.
_OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
_STARTING_SECONDS = 120
# The sizes that Flink's start scripts would compute.
_CLUSTER = """
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
rest.address: localhost
rest.port: {rest}
blob.server.port: 0
taskmanager.host: localhost
taskmanager.cpu.cores: 1.0
taskmanager.numberOfTaskSlots: 1
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 192m
taskmanager.memory.network.max: 192m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 128m
taskmanager.memory.jvm-overhead.max: 128m
heartbeat.interval: 3000
heartbeat.timeout: 60000
io.tmp.dirs: {folder}
classloader.resolve-order: parent-first
"""


def reason_to_skip(engine: str) -> str | None:
    """What is missing on this machine, or None."""
    if not shutil.which("java"):
        return "Java is missing"
    if not (JARS / engine / ".complete").exists():
        return f"{JARS / engine} is missing: make runner-test fetches it, with Maven"
    return None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def process(command: list[str], log: pathlib.Path, port: int | None = None) -> Iterator[subprocess.Popen]:
    """A process in a new process group, which listens at the port when the block begins."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # a pool starts "python"
    with open(log, "w") as output:
        started = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True, env={**os.environ, "PATH": path}
        )
    try:
        deadline = time.monotonic() + _STARTING_SECONDS
        while port is not None:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                break
            if started.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def java(engine: str, name: str, *arguments: str, memory: str = "768m") -> list[str]:
    """The command of a class among an engine's jars."""
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", *opened, "-cp", f"{JARS / engine}/*", name, *arguments]


@contextlib.contextmanager
def job_server(engine: str, folder: pathlib.Path, master: str | None = None) -> Iterator[list[str]]:
    """Beam options of a job server, whose engine runs inside of it with two slots unless a master is given."""
    port = free_port()
    name, flag = _DRIVERS[engine]
    arguments = ["--job-host=localhost", f"--job-port={port}", "--artifact-port=0", "--expansion-port=0"]
    command = java(engine, name, *arguments, f"{flag}={master or _LOCAL[engine]}", f"--artifacts-dir={folder}/staged")
    with process(command, folder / f"{engine}.log", port):
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}"]
        yield [*options, "--parallelism=2"] if engine == "flink" else options


@contextlib.contextmanager
def worker_pool(folder: pathlib.Path) -> Iterator[tuple[list[str], int]]:
    """Beam options of a pool that starts one process for each worker asked for, two with Flink; and its process."""
    port = free_port()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with process(command, folder / "pool.log", port) as pool:
        environment = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
        yield [*environment, "--sdk_worker_parallelism=2"], pool.pid


@contextlib.contextmanager
def flink_cluster(folder: pathlib.Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """The address of a job manager, and two task managers of one slot each."""
    rest = free_port()
    (folder / "config.yaml").write_text(_CLUSTER.format(rpc=free_port(), rest=rest, folder=folder))
    where = ("--configDir", str(folder))
    name = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    manager = java("flink", name, *where, memory="512m")
    worker = java("flink", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", *where)
    with (
        process(manager, folder / "job_manager.log", rest),
        process(worker, folder / "task_manager_0.log") as first,
        process(worker, folder / "task_manager_1.log") as second,
    ):
        yield f"localhost:{rest}", [first, second]


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
